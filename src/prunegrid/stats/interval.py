"""A number with its interval."""

import math
from dataclasses import dataclass

import numpy as np

from prunegrid.stats.arrays import Array


@dataclass(frozen=True)
class Interval:
    """`value` as measured, `low` and `high` of the percentile interval at `level`, `se` of the replicates.

    `p`: two-sided bootstrap p-value against 0 (differences only, else None). A bound that the data do not
    give is infinite.
    """

    value: float
    low: float
    high: float
    se: float
    level: float = 0.95
    p: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """JSON-able: None where a number is not finite."""
        raw = {"value": self.value, "low": self.low, "high": self.high, "se": self.se, "level": self.level}
        shown = {key: number if math.isfinite(number) else None for key, number in raw.items()}
        return {**shown, "p": self.p}


def percentile_interval(value: float, replicates: Array, level: float = 0.95) -> Interval:
    """Percentile interval of `replicates` [R] around the measured `value`.

    Replicates that are NaN (undefined in that resample) are left out while they are fewer than the tail
    that the interval cuts off; from there on the data do not bound the value and the interval is infinite.
    """
    if not 0 < level < 1:
        raise ValueError(f"level {level}: must lie between 0 and 1")
    known = replicates[~np.isnan(replicates)]
    tail = (1 - level) / 2
    if len(known) < 2 or 1 - len(known) / len(replicates) > tail or math.isnan(value):
        return Interval(value, -math.inf, math.inf, math.nan, level)
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(value, float(low), float(high), float(known.std(ddof=1)), level)


def two_sided(replicates: Array) -> float:
    """Two-sided p-value against 0 by inverting the percentile interval; 1 if every replicate is 0.

    With one added to both counts it is never 0 (Davison and Hinkley 1997, section 4.2).
    """
    known = replicates[~np.isnan(replicates)]
    below, above = (known <= 0).sum(), (known >= 0).sum()
    return float(min(1.0, 2 * (min(below, above) + 1) / (len(known) + 1)))
