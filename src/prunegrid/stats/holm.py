"""Holm's correction: several benchmarks, one claim."""

import numpy as np
import numpy.typing as npt

from prunegrid.stats.arrays import Array


def holm(p: npt.ArrayLike) -> Array:
    """Adjusted p-values [n] of p-values [n], in the order given; reject where they are <= alpha.

    Controls the chance of any false rejection, whatever the dependence (Holm 1979). ValueError if a value
    is no probability.
    """
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"p-values must be one list of numbers in [0, 1], not {p!r}")
    order = np.argsort(values, kind="stable")
    stepped = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
    return adjusted
