"""Lines with bands: what figures of scores over a parameter share."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from prunegrid.report.cell import Estimate
from prunegrid.report.curves import Curve
from prunegrid.report.figures import legend_below, title
from prunegrid.report.style import Mark, look, plt
from prunegrid.report.summary import Summary

_ACROSS = 4
_BAND = 0.16  # opacity


def panels(
    summary: Summary,
    drawn: Mapping[str, Mark],
    panel: Callable[[str, Axes, Axes | None], None],
    below: bool = False,
    more: Sequence[str] = (),
) -> Figure:
    """A panel per benchmark, or two, one below the other, drawn by `panel(column, axes, axes below)`; one legend.

    more: panels behind those of the benchmarks, drawn by their names.
    """
    columns = [*summary.columns, *more]
    count = max(1, len(columns))
    across, high = min(count, _ACROSS), 2 if below else 1
    down = math.ceil(count / across)
    with look():
        figure, grid = plt.subplots(
            down * high, across, squeeze=False, layout="constrained",
            figsize=(1.0 + 3.9 * across, 0.9 + (3.2 if high == 1 else 5.2) * down),
            gridspec_kw={"height_ratios": [2, 1][:high] * down},
        )  # fmt: skip
        for axes in grid.flat:
            axes.set_axis_off()
        for i, column in enumerate(columns):
            y, x = divmod(i, across)
            each: list[Axes] = [grid[y * high + k][x] for k in range(high)]
            for axes in each:
                axes.set_axis_on()
            panel(column, each[0], each[1] if below else None)
            each[0].set_title(column)
        figure.suptitle(title(summary), fontsize=12)
        handles = [_handle(label, mark) for label, mark in drawn.items()]
        legend_below(figure, handles)
    return figure


def line(axes: Axes, xs: Sequence[float], ys: Sequence[Estimate], mark: Mark) -> None:
    """Values joined in the order given, their intervals as a band."""
    axes.plot(
        xs, [y.value for y in ys], color=mark.colour, linestyle=mark.line, marker=mark.marker, markersize=6,
        markerfacecolor=mark.face, markeredgecolor=mark.edge, markeredgewidth=0.8, linewidth=1.5, zorder=3,
    )  # fmt: skip
    low, high = ([bound for y in ys if (bound := getattr(y, end)) is not None] for end in ("low", "high"))
    if len(low) == len(high) == len(ys):
        axes.fill_between(xs, low, high, color=mark.colour, alpha=_BAND, linewidth=0, zorder=1)


def names(curves: Sequence[Curve]) -> list[str]:
    """A name per curve: its label, with its method where two share one."""
    labels = [curve.label for curve in curves]
    made = [f"{c.label} ({c.reducer})" if labels.count(c.label) > 1 else c.label for c in curves]
    return [
        name if made.count(name) == 1 else f"{name}, {made[:i].count(name) + 1}"
        for i, name in enumerate(made)
    ]


def _handle(label: str, mark: Mark) -> Line2D:
    return Line2D(
        [], [], color=mark.colour, linestyle=mark.line, marker=mark.marker, markersize=6,
        markerfacecolor=mark.face, markeredgecolor=mark.edge, label=textwrap.fill(label, 40),
    )  # fmt: skip
