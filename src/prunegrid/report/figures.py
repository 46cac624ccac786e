"""Fronts: what a benchmark's score costs, in tokens or in FLOPs, one panel per benchmark."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from prunegrid.report.cell import Estimate, is_mini
from prunegrid.report.speed import POINT, comparable, speeds
from prunegrid.report.style import Mark, look, marks, plt
from prunegrid.report.summary import Field, Summary

_NEAR = 0.035  # costs closer than this share of the axis are one budget: their points are set side by side
_APART = 0.028
_MOST = 0.1  # share of the axis that the points of one budget take at most
_LINE, _LETTER, _MARKER = 0.19, 0.08, 0.7  # inches in a legend: a line, a letter, what stands around a label


@dataclass(frozen=True)
class Axis:
    """A cost: its label, its value of a field (None where unknown), and whether it is drawn in octaves."""

    label: str
    value: Callable[[Field], float | None]
    octaves: bool = False


TOKENS = Axis("visual tokens (mean over LLM layers and samples)", lambda f: f.equivalent, octaves=True)
FLOPS = Axis("FLOPs per sample, % of the full-token run",
             lambda f: None if f.relative_flops is None else 100 * f.relative_flops)  # fmt: skip


def seconds(summary: Summary) -> Axis:
    """Measured time, of what was measured alike: other machines, batches and answer lengths have another axis."""
    times: dict[tuple[str, str], list[float]] = {}
    alike = comparable(speeds(summary))
    for each in alike:
        times.setdefault((each.field.row, each.field.column), []).append(1000 * each.seconds)

    def mean(field: Field) -> float | None:
        seeds = times.get((field.row, field.column))
        return sum(seeds) / len(seeds) if seeds else None

    batch, new = (alike[0].point[key] for key in POINT) if alike else (0, 0)
    return Axis(f"ms per call, measured (batch {batch}, new tokens {new})", mean)


def front(summary: Summary, axis: Axis) -> Figure:
    """Score with its interval over cost, every finished field a point; the step line is the best so far.

    The full-token run is a dashed line, the blind model a dotted one: a method can lose what lies between.
    Methods at one budget would hide each other, so their points are set side by side around it.
    """
    count = max(1, len(summary.columns))
    across = {1: 1, 2: 2, 4: 2}.get(count, 3)
    down = math.ceil(count / across)
    drawn = marks((field.row, field.reducer) for field in summary.fields.values())
    with look():
        figure, axes = plt.subplots(
            down, across, figsize=(1.2 + 4.2 * across, 3.3 * down + 0.9), squeeze=False, layout="constrained"
        )
        flat: list[Axes] = list(axes.flat)
        for axes_, column in zip(flat, summary.columns, strict=False):
            _panel(axes_, summary.of_column(column), axis, drawn, column)
            unseen = [field for field in summary.references if field.column == column]
            reference_lines(axes_, [*summary.of_column(column), *unseen])
        for empty in flat[len(summary.columns) :]:
            empty.set_axis_off()
        for axes_ in flat[max(0, len(summary.columns) - across) : len(summary.columns)]:
            axes_.set_xlabel(axis.label)
        figure.suptitle(title(summary), fontsize=12)
        _legend(figure, drawn, {f.row for f in summary.fields.values() if f.reducer == "blind"})
    return figure


def title(summary: Summary) -> str:
    """The study's and its models, where it does not name them itself."""
    said = summary.study.title
    named = (f"{model} model" if is_mini(model) else model for model in summary.study.models)
    models = ", ".join(name for name in named if name not in said)
    return "\n".join(textwrap.wrap(f"{said} ({models})" if models else said, 90))


def _panel(axes: Axes, fields: Sequence[Field], axis: Axis, drawn: dict[str, Mark], title: str) -> None:
    points = [(x, f) for f in fields if f.score and f.reducer != "blind" and (x := axis.value(f))]
    for x, (_, field) in zip(dodged([x for x, _ in points], axis.octaves), points, strict=True):
        assert field.score is not None
        mark, value = drawn[field.row], field.score.value
        axes.errorbar(
            [x], [value], yerr=_ends(field.score), fmt=mark.marker, color=mark.colour, markersize=7, capsize=2.5,
            elinewidth=1.1, markerfacecolor=mark.face, markeredgecolor=mark.edge, markeredgewidth=0.8, zorder=3,
        )  # fmt: skip
    # the true costs, not the moved ones
    steps = pareto([(x, f.score.value) for x, f in points if f.score])
    if len(steps) > 1:
        axes.step(*zip(*steps, strict=True), where="post", color="#444444", linewidth=1, zorder=2)
    unit = next((f.unit for f in fields if f.score), "%")
    metric = next((f.metric for f in fields if f.score), "score")
    axes.set_title(title)
    axes.set_ylabel(f"{metric} ({unit})")
    if not points:
        waiting = sum(f.score is None for f in fields)
        text = f"{waiting} of {len(fields)} fields not finished" if waiting else "no cost known"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color="#777777")
    elif axis.octaves:
        octaves(axes, [x for x, _ in points])


def _ends(score: Estimate) -> list[list[float]] | None:
    if score.low is None or score.high is None:
        return None
    return [[score.value - score.low], [score.high - score.value]]


def dodged(values: Sequence[float], octaves: bool) -> list[float]:
    """`values` with those that nearly coincide moved apart, evenly around their place, in their order."""
    places = [math.log2(x) if octaves else x for x in values]
    unit = (max(places, default=0) - min(places, default=0)) or 1.0
    groups: list[list[int]] = []
    for i in sorted(range(len(places)), key=lambda i: round(places[i], 6)):  # ties stay in the table's order
        if groups and places[i] - places[groups[-1][-1]] <= _NEAR * unit:
            groups[-1].append(i)
        else:
            groups.append([i])
    moved = list(places)
    for group in groups:
        centre = sum(places[i] for i in group) / len(group)
        apart = min(_APART, _MOST / len(group)) * unit
        for k, i in enumerate(group):
            moved[i] = centre + (k - (len(group) - 1) / 2) * apart
    return [2**x if octaves else x for x in moved]


def reference_lines(axes: Axes, fields: Sequence[Field]) -> None:
    """The full-token runs dashed, the blind models dotted; the outermost of each are named."""
    references = (
        ("none", "--", "full tokens", "bottom", max),
        ("blind", ":", "blind (0 tokens)", "top", min),
    )
    for reducer, style, label, side, outermost in references:
        scores = [field.score.value for field in fields if field.reducer == reducer and field.score]
        for score in scores:
            axes.axhline(score, color="#777777", linestyle=style, linewidth=1, zorder=1)
        if scores:
            axes.annotate(
                label, (0.01, outermost(scores)), xycoords=("axes fraction", "data"), fontsize=8,
                ha="left", va=side, color="#555555",
            )  # fmt: skip


def octaves(axes: Axes, values: Sequence[float]) -> None:
    """A log axis with a tick per doubling, from the highest value or, if that is no whole number, a power of two."""
    low, high = min(values), max(values)
    axes.set_xscale("log", base=2)
    around = max(1.25, (high / low) ** 0.2)  # room for points that were moved apart
    axes.set_xlim(low / around, high * around)
    axes.xaxis.set_minor_locator(NullLocator())
    top = high if float(high).is_integer() else 2 ** math.floor(math.log2(high))
    ticks = [top / 2**k for k in range(int(math.log2(top / low)) + 1 if top >= low else 0)]
    axes.set_xticks(ticks if len(ticks) > 1 else sorted({low, high}))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.4g}" if x >= 10 else f"{x:.2g}"))


def _legend(figure: Figure, drawn: dict[str, Mark], lines: Collection[str]) -> None:
    handles = [
        Line2D([], [], color=mark.colour, marker=mark.marker, linestyle="", markersize=7,
               markerfacecolor=mark.face, markeredgecolor=mark.edge, label=textwrap.fill(row, 44))
        for row, mark in drawn.items()
        if row not in lines
    ]  # fmt: skip
    legend_below(figure, handles)


def legend_below(figure: Figure, handles: Sequence[Line2D]) -> None:
    """One legend under all panels, in as many columns as fit; the figure grows by its height, the panels keep theirs."""
    labels = [str(handle.get_label()).splitlines() for handle in handles]
    widest = max((len(line) for lines in labels for line in lines), default=1)
    columns = max(1, min(len(handles), int(figure.get_figwidth() / (_MARKER + _LETTER * widest))))
    down = math.ceil(len(handles) / columns)
    # columns are filled one after the other; a column of wrapped labels is higher
    filled = (labels[i * down : (i + 1) * down] for i in range(columns))
    height = _LINE * max(sum(map(len, column)) for column in filled)
    figure.set_figheight(figure.get_figheight() + height)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=9)


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, score) that no other point beats in both, cheapest first."""
    best: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda p: (p[0], -p[1])):
        if not best or score > best[-1][1]:
            best.append((cost, score))
    return best
