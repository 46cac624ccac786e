"""Where on the picture tokens survive: the share of samples that keep each patch."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from prunegrid.report.cell import Cell
from prunegrid.report.overlay import grid_side
from prunegrid.report.style import look, plt
from prunegrid.stats.kept import kept

_ACROSS = 5


def survival(traces: Iterable[Mapping[str, Any]], side: int) -> npt.NDArray[np.float64]:
    """[side, side]: share of the samples in which each patch survives (merged tokens count nowhere)."""
    counts: Counter[int] = Counter()
    total = 0
    for trace in traces:
        counts.update(kept(trace, side).patches or ())
        total += 1
    flat = [counts[i] / total if total else 0.0 for i in range(side * side)]
    return np.array(flat).reshape(side, side)


def survival_maps(cells: Sequence[Cell]) -> Figure:
    """One map per cell, all on the scale from never to always."""
    across = max(1, min(_ACROSS, len(cells)))
    down = max(1, math.ceil(len(cells) / across))
    with look():
        figure, axes = plt.subplots(
            down, across, figsize=(2.3 * across + 0.9, 2.6 * down), squeeze=False, layout="constrained"
        )
        drawn = None
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, cell in zip(axes.flat, cells, strict=False):
            drawn = axis.imshow(survival(cell.traces(), grid_side(cell)), vmin=0, vmax=1, cmap="viridis")
            axis.set_title(textwrap.fill(cell.row, 30), fontsize=9)
        if drawn is not None:
            figure.colorbar(drawn, ax=axes, label="share of samples", shrink=0.8)
    return figure
