"""Checks and types that the statistics share."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Metric = Callable[[Array], Mapping[str, Any]]  # sums [..., c] -> {name: [...]}, e.g. a task's `metric`


def as_counts(counts: npt.ArrayLike) -> Array:
    """[clusters, c] as floats; ValueError for another shape, no cluster, or a value that is not finite."""
    array = np.asarray(counts, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] == 0:
        raise ValueError(
            f"counts must be [clusters, statistics] with at least one cluster, not {array.shape}"
        )
    if not np.all(np.isfinite(array)):
        raise ValueError("counts must be finite")
    return array


def same_shape(*several: Array) -> None:
    """ValueError unless all arrays describe the same clusters and statistics."""
    if len({array.shape for array in several}) > 1:
        raise ValueError(f"counts of different shape {[a.shape for a in several]}: align the clusters first")
