"""Spearman's rank correlation with an interval over clusters: ranks are taken anew in every resample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from prunegrid.stats.arrays import Array
from prunegrid.stats.bootstrap import REPLICATES, weights
from prunegrid.stats.interval import Interval, percentile_interval, two_sided


def spearman(
    x: npt.ArrayLike, y: npt.ArrayLike, clusters: Sequence[str], replicates: int = REPLICATES, seed: int = 0
) -> Interval:
    """Correlation of the ranks of x and y [N], ties at their mean rank; NaN where one of them does not vary.

    `p`: two-sided against no correlation. A sample drawn k times counts as k samples with one rank.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) != len(clusters) or not len(a):
        raise ValueError(f"x {a.shape}, y {b.shape} and {len(clusters)} clusters must be of the same samples")
    _, which = np.unique(np.asarray(clusters), return_inverse=True)
    value = float(_weighted(a, b, np.ones((1, len(a))))[0])
    blocks = (w[:, which] for w in weights(int(which.max()) + 1, replicates, seed))
    drawn = np.concatenate([_weighted(a, b, w) for w in blocks])
    return replace(percentile_interval(value, drawn), p=None if np.isnan(value) else two_sided(drawn))


def _weighted(x: Array, y: Array, w: Array) -> Array:
    """[R] correlation of the ranks under each row of weights w [R, N]."""
    a, b, n = _ranks(x, w), _ranks(y, w), w.sum(1, keepdims=True)
    a, b = (r - (w * r).sum(1, keepdims=True) / n for r in (a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        below = np.sqrt((w * a * a).sum(1) * (w * b * b).sum(1))
        return np.where(below > 1e-9, (w * a * b).sum(1) / below, np.nan)


def _ranks(x: Array, w: Array) -> Array:
    """[R, N] mean ranks where sample i is there w[r, i] times."""
    values, which = np.unique(x, return_inverse=True)
    each = w @ np.eye(len(values))[which]  # [R, values]
    ranks = np.cumsum(each, 1) - each + (each + 1) / 2
    return np.asarray(ranks[:, which])
