"""Score over the number of tokens: a line with a band per method that a study runs at three budgets or more."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunegrid.report import lines
from prunegrid.report.curves import BUDGET, Curve
from prunegrid.report.figures import TOKENS, octaves, reference_lines
from prunegrid.report.style import marks
from prunegrid.report.summary import Summary


def budget(summary: Summary, curves: Sequence[Curve]) -> Figure | None:
    """Its `curves` over budgets, at the measured tokens (mean over layers of the language model); None without any."""
    own = [curve for curve in curves if curve.parameter == BUDGET]
    if not own:
        return None
    names = lines.names(own)
    drawn = marks((name, curve.reducer) for name, curve in zip(names, own, strict=True))

    def panel(column: str, axes: Axes, _: Axes | None) -> None:
        reached: list[float] = []
        for name, curve in zip(names, own, strict=True):
            fields = [summary.fields.get((point.row, column)) for point in curve.points]
            points = sorted(
                ((f.equivalent, f.score) for f in fields if f and f.score and f.equivalent),
                key=lambda p: p[0],
            )
            if points:
                xs = [x for x, _ in points]
                lines.line(axes, xs, [y for _, y in points], drawn[name])
                reached += xs
        unseen = [field for field in summary.references if field.column == column]
        reference_lines(axes, [*summary.of_column(column), *unseen])
        if len(set(reached)) > 1:
            octaves(axes, reached)
        if not reached:
            axes.text(0.5, 0.5, "nothing finished", transform=axes.transAxes, ha="center", color="#777777")
        unit = next((f"{f.metric} ({f.unit})" for f in summary.of_column(column) if f.score), "score")
        axes.set(xlabel=TOKENS.label.replace(" (", "\n("), ylabel=unit)

    return lines.panels(summary, drawn, panel)
