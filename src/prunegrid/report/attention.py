"""How attention falls off over the patches, on two axes of octaves: its long tail, and where adaptive methods cut it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunegrid.report import lines
from prunegrid.report.cell import Estimate
from prunegrid.report.figures import octaves
from prunegrid.report.style import Mark, colour_of, marks
from prunegrid.report.summary import Field, Summary

CAPTION = (
    "Attention of the class token to the patch of each rank, largest first: median of the samples and, as a band, "
    "the middle 80 %. Vertical lines: mean number of tokens that methods without a fixed budget keep."
)
_RANK = re.compile(r"attention rank (\d+)")  # the notes of the reducer attention_tail
_VARIES = 0.5  # tokens; a method whose counts differ less has a fixed budget


def tail(traces: Iterable[Mapping[str, Any]]) -> dict[int, npt.NDArray[np.float64]]:
    """rank -> its attention in every sample that notes it; empty where nothing was noted."""
    found: dict[int, list[float]] = {}
    for trace in traces:
        for name, value in (trace.get("notes") or {}).items():
            if match := _RANK.fullmatch(name):
                found.setdefault(int(match[1]), []).append(float(value))
    return {rank: np.array(found[rank]) for rank in sorted(found)}


def attention(summary: Summary) -> Figure | None:
    """A curve per row that notes it, a panel per benchmark; None where no row does."""
    tails = {
        (row, column): found
        for (row, column), field in summary.fields.items()
        if field.reducer == "attention_tail" and (cell := _done(field)) and (found := tail(cell.traces()))
    }
    if not tails:
        return None
    cuts = {row: f.reducer for (row, _), f in summary.fields.items() if _adapts(f)}
    noted = {row: summary.fields[row, column].reducer for row, column in tails}
    drawn = marks(noted.items()) | {
        row: Mark(colour_of(reducer), "None", ":") for row, reducer in cuts.items()
    }

    def panel(column: str, axes: Axes, _: Axes | None) -> None:
        for row in noted:
            if found := tails.get((row, column)):
                lines.line(axes, list(found), [_middle(values) for values in found.values()], drawn[row])
        for row in cuts:
            if (field := summary.fields.get((row, column))) and field.tokens:
                axes.axvline(field.tokens[0], color=drawn[row].colour, linestyle=":", linewidth=1.5)
        ranks = [rank for (_, where), found in tails.items() if where == column for rank in found]
        if len(set(ranks)) > 1:
            octaves(axes, ranks)
            axes.set_yscale("log")
        axes.set(xlabel="rank of the patch", ylabel="attention of the class token")

    return lines.panels(summary, drawn, panel)


def _done(field: Field) -> Any:
    return next((cell for cell in field.cells if cell.state == "done"), None)


def _adapts(field: Field) -> bool:
    return field.tokens is not None and field.tokens[2] - field.tokens[1] > _VARIES


def _middle(values: npt.NDArray[np.float64]) -> Estimate:
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9))
    return Estimate(float(middle), float(low), float(high))
