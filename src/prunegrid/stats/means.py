"""Means over samples with intervals over clusters, and how numbers of tokens are spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from prunegrid.stats.arrays import Array
from prunegrid.stats.bootstrap import REPLICATES, bootstrap
from prunegrid.stats.interval import Interval


def overlap(kept: npt.ArrayLike, mask: npt.ArrayLike) -> tuple[Array, Array, Array]:
    """Precision, recall and base rate [N] of kept patches on masks; kept [N, P] shares 0..1, mask [N, P] 0 or 1.

    Precision: of what is kept, the share that lies on the mask. Recall: of the mask, the share that is kept. Base rate:
    the mask's share of the picture, which is the precision of a blind choice. NaN where nothing is kept, or no mask.
    """
    k, m = np.asarray(kept, np.float64), np.asarray(mask, np.float64)
    if k.shape != m.shape or k.ndim != 2:
        raise ValueError(f"kept {k.shape} and mask {m.shape} must both be [samples, patches]")
    hit = (k * m).sum(1)
    with np.errstate(invalid="ignore"):
        return hit / k.sum(1), hit / m.sum(1), m.mean(1)


def means(
    values: Mapping[str, npt.ArrayLike], clusters: Sequence[str], replicates: int = REPLICATES
) -> dict[str, Interval]:
    """The mean of each of `values`, name -> [N], over the samples where it is defined; NaN = not. Whole clusters are
    resampled. Names without any defined value are left out."""
    arrays = {name: np.asarray(array, np.float64) for name, array in values.items()}
    arrays = {name: array for name, array in arrays.items() if not np.isnan(array).all()}
    if not arrays:
        return {}
    columns = [c for a in arrays.values() for c in (np.nan_to_num(a), ~np.isnan(a))]

    def metric(sums: Array) -> dict[str, Array]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return {name: sums[..., 2 * i] / sums[..., 2 * i + 1] for i, name in enumerate(arrays)}

    return bootstrap(summed(np.stack(columns, 1), clusters), metric, replicates=replicates)


def spread(
    counts: npt.ArrayLike, clusters: Sequence[str], floor: int, replicates: int = REPLICATES
) -> dict[str, Interval]:
    """Of token counts [N]: `mean`, `variation` (standard deviation over mean; 0 for a mean of 0), and `under`, the
    share of samples with fewer than `floor` tokens."""
    x = np.asarray(counts, np.float64)
    columns = np.stack([np.ones_like(x), x, x * x, x < floor], 1)
    return bootstrap(summed(columns, clusters), _spread, replicates=replicates)


def _spread(sums: Array) -> dict[str, Array]:
    n, total, squares, under = (sums[..., i] for i in range(4))
    mean = total / n
    deviation = np.sqrt(np.clip(squares / n - mean**2, 0, None))
    variation = np.divide(deviation, mean, out=np.zeros_like(mean), where=mean > 0)
    return {"mean": mean, "variation": variation, "under": under / n}


def summed(columns: Array, clusters: Sequence[str]) -> Array:
    """columns [N, c] -> [clusters, c]: sums over each cluster's samples."""
    _, which = np.unique(np.asarray(clusters), return_inverse=True)
    found = np.zeros((which.max() + 1, columns.shape[1]))
    np.add.at(found, which, columns)
    return found
