"""What a benchmark can show: the smallest difference it finds, from the standard error of a difference."""

from statistics import NormalDist


def smallest_difference(se: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true difference found with chance `power` by a two-sided test at `alpha`.

    `se`: standard error of the paired difference, e.g. Interval.se of paired_bootstrap; the answer is in
    its unit. Normal approximation. ValueError for a negative se or a chance outside (0, 1).
    """
    _check(se, alpha, power)
    normal = NormalDist()
    return se * (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power))


def power(difference: float, se: float, *, alpha: float = 0.05) -> float:
    """Chance that a two-sided test at `alpha` finds a true `difference` of standard error `se` > 0."""
    _check(se, alpha, 0.5)
    if se == 0:
        raise ValueError("se 0: the power of a test without noise is not defined")
    normal = NormalDist()
    edge = normal.inv_cdf(1 - alpha / 2)
    return normal.cdf(difference / se - edge) + normal.cdf(-difference / se - edge)


def _check(se: float, alpha: float, chance: float) -> None:
    if not se >= 0:
        raise ValueError(f"se {se}: must not be negative")
    if not (0 < alpha < 1 and 0 < chance < 1):
        raise ValueError(f"alpha {alpha} and power {chance} must lie between 0 and 1")
