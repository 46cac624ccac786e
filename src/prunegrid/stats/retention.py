"""How much of the full-token score a method keeps: plainly, and of what lies above a blind model's score."""

import numpy as np
import numpy.typing as npt

from prunegrid.stats.arrays import Array, Metric, as_counts
from prunegrid.stats.bootstrap import REPLICATES, drawn_or_nan, resampled_sums
from prunegrid.stats.interval import Interval, percentile_interval


def retention(
    counts: npt.ArrayLike,
    full: npt.ArrayLike,
    metric: Metric,
    *,
    floor: npt.ArrayLike | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """score / full of every metric, or (score - floor) / (full - floor) if a blind run's counts are given.

    All counts are [clusters, c] over the same clusters in the same order and are drawn together, the floor
    and the full run included: their noise belongs to the ratio's. Where a full run is not above the floor
    there is nothing to retain: the value is NaN, and if that happens in too many resamples the interval is
    infinite.
    """
    arrays = [as_counts(array) for array in (counts, full, floor) if array is not None]
    drawn = [metric(sums) for sums in resampled_sums(*arrays, replicates=replicates, seed=seed)]
    values = [metric(array.sum(axis=0)) for array in arrays]
    result = {}
    for name in values[0]:
        if not all(name in value for value in values):
            continue
        point = _kept(*(value[name] for value in values))
        parts = _kept(*(drawn_or_nan(metrics, name, replicates) for metrics in drawn))
        result[name] = percentile_interval(float(point), parts, level)
    return result


def _kept(score: npt.ArrayLike, full: npt.ArrayLike, floor: npt.ArrayLike = 0) -> Array:
    """(score - floor) / (full - floor); NaN where full is not above floor."""
    above = np.asarray(np.subtract(full, floor), np.float64)
    return np.divide(np.subtract(score, floor), above, out=np.full(above.shape, np.nan), where=above > 0)
