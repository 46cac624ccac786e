"""Seeds as a second source of variance, beside the questions that happen to be in a benchmark."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from prunegrid.stats.arrays import Metric, as_counts, same_shape
from prunegrid.stats.bootstrap import REPLICATES, drawn_or_nan, resampled_sums
from prunegrid.stats.interval import Interval, percentile_interval


def seed_spread(values: npt.ArrayLike) -> dict[str, float]:
    """{n, mean, sd, min, max} of one score per seed, [seeds]; sd (n - 1) is NaN for a single seed."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0 or not np.all(np.isfinite(array)):
        raise ValueError(f"one finite score per seed is needed, not {values!r}")
    sd = float(array.std(ddof=1)) if len(array) > 1 else float("nan")
    return {
        "n": len(array),
        "mean": float(array.mean()),
        "sd": sd,
        "min": float(array.min()),
        "max": float(array.max()),
    }


def seed_bootstrap(
    counts: Sequence[npt.ArrayLike],
    metric: Metric,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Mean over seeds of every metric, with an interval that has both sources of variance.

    `counts`: one [clusters, c] per seed, same clusters in the same order. A replicate draws clusters (the
    same for all seeds) and seeds, both with replacement. With few seeds the part of the seeds is
    underestimated by (n - 1) / n, as always when so few are drawn from.
    """
    arrays = [as_counts(array) for array in counts]
    if not arrays:
        raise ValueError("at least one seed is needed")
    same_shape(*arrays)
    drawn = [metric(sums) for sums in resampled_sums(*arrays, replicates=replicates, seed=seed)]
    values = [metric(array.sum(axis=0)) for array in arrays]
    # a stream of its own, so that the draws of clusters are those of `bootstrap` with the same seed
    picks = np.random.default_rng([seed, 1]).integers(0, len(arrays), size=(len(arrays), replicates))
    result = {}
    for name in values[0]:
        if not all(name in value for value in values):
            continue
        table = np.stack([drawn_or_nan(metrics, name, replicates) for metrics in drawn])
        means = np.take_along_axis(table, picks, axis=0).mean(axis=0)
        result[name] = percentile_interval(float(np.mean([value[name] for value in values])), means, level)
    return result
