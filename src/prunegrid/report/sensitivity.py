"""Score over one setting of a method (tau, alpha, k, a fence, a group's size), and the tokens kept where it moves them."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunegrid.report import lines
from prunegrid.report.cell import Estimate
from prunegrid.report.curves import Curve, order
from prunegrid.report.figures import reference_lines
from prunegrid.report.style import Mark, marks
from prunegrid.report.summary import Field, Summary

_MOVED = 0.5  # tokens; less is the same budget on other pictures


def sensitivity(summary: Summary, curves: Sequence[Curve], parameter: str) -> Figure:
    """The `curves` over `parameter`. Its values as they acted in this model: a k of 32 in 576 is 8 in 144."""
    own = [curve for curve in curves if curve.parameter == parameter]
    names = lines.names(own)
    drawn = marks((name, curve.reducer) for name, curve in zip(names, own, strict=True))
    scale = _Scale(own)

    def panel(column: str, axes: Axes, below: Axes | None) -> None:
        for name, curve in zip(names, own, strict=True):
            known = [
                (scale.place(point.value), field)
                for point in curve.points
                if (field := summary.fields.get((point.row, column))) and field.score
            ]
            _draw(axes, below, known, drawn[name])
        unseen = [field for field in summary.references if field.column == column]
        reference_lines(axes, [*summary.of_column(column), *unseen])
        unit = next((f"{f.metric} ({f.unit})" for f in summary.of_column(column) if f.score), "score")
        axes.set_ylabel(unit)
        for each in filter(None, (axes, below)):
            scale.apply(each)
        if below is not None:
            below.set_ylabel("tokens")
        (below or axes).set_xlabel(parameter)

    return lines.panels(summary, drawn, panel, below=_moves(summary, own))


def _draw(axes: Axes, below: Axes | None, known: Sequence[tuple[float, Field]], mark: Mark) -> None:
    if not known:
        return
    xs = [x for x, _ in known]
    lines.line(axes, xs, [f.score for _, f in known if f.score], mark)
    counts = [Estimate(f.tokens[0]) for _, f in known if f.tokens]
    if below is not None and len(counts) == len(xs):
        lines.line(below, xs, counts, mark)


def _moves(summary: Summary, curves: Sequence[Curve]) -> bool:
    """Whether the setting changes how many tokens are kept."""
    for curve in curves:
        for column in summary.columns:
            fields = (summary.fields.get((point.row, column)) for point in curve.points)
            counts = [f.tokens[0] for f in fields if f and f.tokens]
            if counts and max(counts) - min(counts) > _MOVED:
                return True
    return False


class _Scale:
    """An axis of numbers where all values are; one step per value where some are words or several numbers."""

    def __init__(self, curves: Sequence[Curve]) -> None:
        self._numeric = all(curve.numeric for curve in curves)
        values = dict.fromkeys(point.value for curve in curves for point in curve.points)
        self._values = sorted(values, key=order)

    def place(self, value: object) -> float:
        return float(value) if self._numeric else float(self._values.index(value))  # type: ignore[arg-type]

    def apply(self, axes: Axes) -> None:
        places = [self.place(value) for value in self._values]
        axes.set_xticks(places, [_text(value) for value in self._values])
        if any(isinstance(value, tuple) for value in self._values):
            axes.tick_params(axis="x", labelrotation=45)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return " / ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, int | float) else str(value)
