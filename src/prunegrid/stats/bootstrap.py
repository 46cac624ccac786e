"""The paired, clustered bootstrap: draw clusters with replacement, recompute the whole metric.

A metric that is a function of sums over clusters costs one matrix product per replicate, however far from a
mean it is (mean of three F1, pairs, circular groups). Two methods that answered the same questions are drawn
together, so what their answers share cancels.
Source: Efron and Tibshirani 1993, chapters 8 and 13; Field and Welsh 2007 for whole clusters.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from prunegrid.stats.arrays import Array, Metric, as_counts, same_shape
from prunegrid.stats.interval import Interval, percentile_interval, two_sided

REPLICATES = 10_000
_BLOCK = 4_000_000  # weights held in memory at a time


def resampled_sums(*counts: npt.ArrayLike, replicates: int = REPLICATES, seed: int = 0) -> list[Array]:
    """Sums over resampled clusters, one [replicates, c] for each array [clusters, c].

    All arrays are drawn with the same weights: row r of each result is the same resample.
    """
    arrays = [as_counts(array) for array in counts]
    same_shape(*arrays)
    if replicates < 1:
        raise ValueError(f"replicates {replicates}: must be at least 1")
    joined = np.concatenate(arrays, axis=1)
    sums = np.concatenate([w @ joined for w in weights(len(joined), replicates, seed)])
    return np.split(sums, len(arrays), axis=1)


def weights(clusters: int, replicates: int, seed: int) -> Iterator[Array]:
    """Multinomial weights [block, clusters], blocks of one stream: how often each cluster was drawn."""
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // clusters)
    for start in range(0, replicates, block):
        rows = min(block, replicates - start)
        drawn = rng.integers(0, clusters, size=(rows, clusters))
        drawn += np.arange(rows)[:, None] * clusters
        yield np.bincount(drawn.ravel(), minlength=rows * clusters).reshape(rows, clusters).astype(np.float64)


def bootstrap(
    counts: npt.ArrayLike, metric: Metric, *, replicates: int = REPLICATES, seed: int = 0, level: float = 0.95
) -> dict[str, Interval]:
    """Every metric of one run with its percentile interval. `counts`: [clusters, c]."""
    array = as_counts(counts)
    (sums,) = resampled_sums(array, replicates=replicates, seed=seed)
    drawn = metric(sums)
    return {
        name: percentile_interval(float(value), drawn_or_nan(drawn, name, replicates), level)
        for name, value in metric(array.sum(axis=0)).items()
    }


def paired_bootstrap(
    counts: npt.ArrayLike,
    baseline: npt.ArrayLike,
    metric: Metric,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Every metric of `counts` minus that of `baseline`, both [clusters, c], clusters in the same order.

    `p` is two-sided against no difference. Equal counts give 0 with [0, 0] and p = 1. A metric that only
    one of the two has (a sub-task that the other was not asked) is left out.
    """
    ours, theirs = as_counts(counts), as_counts(baseline)
    sums, base = (metric(array) for array in resampled_sums(ours, theirs, replicates=replicates, seed=seed))
    value, base_value = metric(ours.sum(axis=0)), metric(theirs.sum(axis=0))
    result = {}
    for name in value:
        if name not in base_value:
            continue
        drawn = drawn_or_nan(sums, name, replicates) - drawn_or_nan(base, name, replicates)
        plain = percentile_interval(float(value[name]) - float(base_value[name]), drawn, level)
        result[name] = replace(plain, p=two_sided(drawn))
    return result


def drawn_or_nan(metrics: Mapping[str, Any], name: str, replicates: int) -> Array:
    """[replicates] of one metric; all NaN where no resample defines it."""
    return np.asarray(metrics[name], np.float64) if name in metrics else np.full(replicates, np.nan)
