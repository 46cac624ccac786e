"""Whether a method keeps more where there is more to see: tokens over the number of things on the picture."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunegrid.report.kept_table import adaptive, of_field
from prunegrid.report.style import Mark, look, marks, plt
from prunegrid.report.summary import Field, Summary

_Z = statistics.NormalDist().inv_cdf(0.975)
CAPTION = (
    "Mean tokens of the pictures with as many drawn things (a number is one), with 95 % intervals; ρ: Spearman's rank "
    "correlation over all pictures, with its interval. Points are set side by side."
)


def clutter(summary: Summary) -> Figure | None:
    """A panel per benchmark with a line per adaptive method; None where no pictures are known thing by thing."""
    fields = [field for field in adaptive(summary) if _pairs(field)]
    columns = list(dict.fromkeys(field.column for field in fields))
    if not fields:
        return None
    drawn = marks((field.row, field.reducer) for field in summary.fields.values())
    with look():
        size = (1 + 5.2 * len(columns), 4.6)
        figure, axes = plt.subplots(1, len(columns), figsize=size, squeeze=False, layout="constrained")
        for axis, column in zip(axes.flat, columns, strict=True):
            _panel(axis, [f for f in fields if f.column == column], drawn)
            axis.set_title(column)
    return figure


def _panel(axes: Axes, fields: Sequence[Field], drawn: dict[str, Mark]) -> None:
    for i, field in enumerate(fields):
        points = means(_pairs(field))
        aside = 0.06 * (i - (len(fields) - 1) / 2)
        mark = drawn[field.row]
        axes.errorbar(
            [x + aside for x, _, _ in points], [y for _, y, _ in points], yerr=[e for _, _, e in points],
            color=mark.colour, marker=mark.marker, markersize=6, linewidth=1, capsize=2.5, label=_label(field),
        )  # fmt: skip
    axes.set_xlabel("things on the picture")
    axes.set_ylabel("visual tokens, mean")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), fontsize=9)


def _label(field: Field) -> str:
    rho = of_field(field).get("clutter/spearman")
    ends = "" if rho is None or rho.low is None else f" [{rho.low:.2f}, {rho.high:.2f}]"
    return textwrap.fill(field.row, 40) + ("" if rho is None else f", ρ = {rho.value:.2f}{ends}")


def _pairs(field: Field) -> list[tuple[int, int]]:
    """(things, tokens) of every sample of every finished seed."""
    done = [cell.kept.get("clutter") or {} for cell in field.cells if cell.state == "done"]
    return [(int(x), int(y)) for found in done for x, y in found.get("things_tokens") or []]


def means(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, float, float]]:
    """(things, mean tokens, half of its 95 % interval), by things; 0 for a single picture."""
    found = []
    for things in sorted({x for x, _ in pairs}):
        tokens = [y for x, y in pairs if x == things]
        half = _Z * statistics.stdev(tokens) / math.sqrt(len(tokens)) if len(tokens) > 1 else 0.0
        found.append((things, statistics.fmean(tokens), half))
    return found
