"""Ratios of counts, vectorised over leading axes: the last step of every metric."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def ratio(part: Array, whole: Array) -> Array:
    """part / whole elementwise; NaN where whole is 0 (nothing was asked, so nothing is known)."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)


def f1(tp: Array, fp: Array, fn: Array) -> Array:
    """2 TP / (2 TP + FP + FN); 0 where nothing is positive and nothing was called positive."""
    whole = np.asarray(2 * tp + fp + fn, np.float64)
    return np.divide(2 * np.asarray(tp, np.float64), whole, out=np.zeros(whole.shape), where=whole != 0)


def mcc(tp: Array, fp: Array, tn: Array, fn: Array) -> Array:
    """Matthews correlation, in [-1, 1]; 0 where a margin is empty (a constant answer predicts nothing)."""
    margins = np.asarray((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn), np.float64)
    covariance = np.asarray(tp * tn - fp * fn, np.float64)
    return np.divide(covariance, np.sqrt(margins), out=np.zeros(margins.shape), where=margins > 0)


def present(measures: Mapping[str, Array]) -> dict[str, Any]:
    """Drop metrics that are NaN everywhere; 0-dimensional arrays become floats."""
    kept = {name: np.asarray(value) for name, value in measures.items() if not np.all(np.isnan(value))}
    return {name: float(value) if value.ndim == 0 else value for name, value in kept.items()}
