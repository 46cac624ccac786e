"""A paired permutation test for any metric: alike methods can be swapped on any cluster.

Exact in level whatever the metric's form; the p-value for Holm where a benchmark's score is not 0/1.
Source: Fisher 1935; Good 2005, chapter 3.
"""

import numpy as np
import numpy.typing as npt

from prunegrid.stats.arrays import Metric, as_counts, same_shape
from prunegrid.stats.bootstrap import REPLICATES, drawn_or_nan

_BLOCK = 4_000_000


def swap_test(
    ours: npt.ArrayLike, theirs: npt.ArrayLike, metric: Metric, *, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, float]:
    """Two-sided p-value of every metric's difference; both counts [clusters, c], same clusters, same order.

    p = (1 + swaps whose |difference| is at least the observed one) / (1 + replicates).
    """
    a, b = as_counts(ours), as_counts(theirs)
    same_shape(a, b)
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(a))
    sizes = [min(block, replicates - start) for start in range(0, replicates, block)]
    # what moves to the other side, summed over the clusters that are swapped
    moved = np.concatenate(
        [rng.integers(0, 2, (rows, len(a))).astype(np.float64) @ (b - a) for rows in sizes]
    )
    total_a, total_b = a.sum(axis=0), b.sum(axis=0)
    first, second = metric(total_a + moved), metric(total_b - moved)
    value, other = metric(total_a), metric(total_b)
    result = {}
    for name in value:
        if name not in other:
            continue
        observed = abs(float(value[name]) - float(other[name]))
        swapped = drawn_or_nan(first, name, replicates) - drawn_or_nan(second, name, replicates)
        # sums of soft scores round differently in each order; a tie must stay a tie
        extreme = np.abs(swapped) >= observed - 1e-9 * max(1.0, observed)
        result[name] = float((1 + extreme.sum()) / (1 + replicates))
    return result
