"""Score over the number of tokens: a line with a band per method that a study runs at three budgets or more."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunegrid.report import lines
from prunegrid.report.cell import Estimate
from prunegrid.report.curves import BUDGET, Curve
from prunegrid.report.figures import TOKENS, octaves, reference_lines
from prunegrid.report.published import mean
from prunegrid.report.style import marks
from prunegrid.report.summary import Summary

MEAN = "mean of all"  # the panel behind those of several benchmarks


def budget(summary: Summary, curves: Sequence[Curve]) -> Figure | None:
    """Its `curves` over budgets, at the measured tokens (mean over layers of the language model); None without any.

    A panel per benchmark and, of several, their mean in per cent of what each can reach.
    """
    own = [curve for curve in curves if curve.parameter == BUDGET]
    if not own:
        return None
    names = lines.names(own)
    drawn = marks((name, curve.reducer) for name, curve in zip(names, own, strict=True))

    def panel(column: str, axes: Axes, _: Axes | None) -> None:
        at = _mean if column == MEAN else _single
        reached: list[float] = []
        for name, curve in zip(names, own, strict=True):
            known = [found for point in curve.points if (found := at(summary, point.row, column))]
            points = sorted(known, key=lambda p: p[0])
            if points:
                xs = [x for x, _ in points]
                lines.line(axes, xs, [y for _, y in points], drawn[name])
                reached += xs
        if column != MEAN:
            unseen = [field for field in summary.references if field.column == column]
            reference_lines(axes, [*summary.of_column(column), *unseen])
        if len(set(reached)) > 1:
            octaves(axes, reached)
        if not reached:
            axes.text(0.5, 0.5, "nothing finished", transform=axes.transAxes, ha="center", color="#777777")
        units = (f"{f.metric} ({f.unit})" for f in summary.of_column(column) if f.score)
        unit = "score (% of what can be reached)" if column == MEAN else next(units, "score")
        axes.set(xlabel=TOKENS.label.replace(" (", "\n("), ylabel=unit)

    return lines.panels(summary, drawn, panel, more=[MEAN] if len(summary.columns) > 1 else [])


def _single(summary: Summary, row: str, column: str) -> tuple[float, Estimate] | None:
    """(tokens, score) of a field; None where either is missing."""
    field = summary.fields.get((row, column))
    return (field.equivalent, field.score) if field and field.score and field.equivalent else None


def _mean(summary: Summary, row: str, _: str) -> tuple[float, Estimate] | None:
    """(tokens, score), means over a row's benchmarks; None until all are finished."""
    fields = summary.of_row(row)
    score, tokens = mean(fields), [field.equivalent for field in fields if field.equivalent]
    return (fmean(tokens), score) if score and len(tokens) == len(fields) == len(summary.columns) else None
