"""How many visual tokens the samples keep: one ridge per method."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping

from matplotlib.figure import Figure

from prunegrid.report.cell import Cell
from prunegrid.report.style import look, marks, plt
from prunegrid.report.summary import Summary

_HEIGHT = 0.82  # of a ridge, in rows
_BINS = 48


def token_counts(cell: Cell) -> Counter[int]:
    """How many samples send how many visual tokens into the LLM."""
    return Counter(int(trace["visual"][0]) for trace in cell.traces() if trace.get("visual"))


def study_histogram(summary: Summary) -> Figure:
    """Ridges of all rows, samples of all benchmarks together; each ridge is scaled to its own height."""
    counts: dict[str, Counter[int]] = {}
    for row in summary.rows:
        cells = [cell for field in summary.of_row(row) for cell in field.cells if cell.state == "done"]
        # benchmarks and studies share predictions: one prediction is counted once
        distinct = {cell.prediction: cell for cell in cells}.values()
        if total := sum((token_counts(cell) for cell in distinct), Counter[int]()):
            counts[row] = total
    drawn = marks((field.row, field.reducer) for field in summary.fields.values())
    return _ridges(counts, {row: mark.colour for row, mark in drawn.items()})


def cell_histogram(cell: Cell) -> Figure:
    """One cell's counts."""
    counts = token_counts(cell)
    return _ridges({cell.row: counts} if counts else {}, {cell.row: "#0072B2"}, title=cell.column)


def _ridges(counts: Mapping[str, Counter[int]], colours: Mapping[str, str], title: str = "") -> Figure:
    with look():
        height = max(2.6, 0.9 + 0.55 * len(counts))
        figure, axes = plt.subplots(figsize=(8.5, height), layout="constrained")
        highest = max((n for each in counts.values() for n in each), default=1)
        width = max(1, -(-highest // _BINS))  # whole tokens per bin
        for i, (row, each) in enumerate(counts.items()):
            floor = len(counts) - 1 - i
            binned = _binned(each, width)
            tallest = max(binned.values())
            axes.bar(
                [start + width / 2 - 0.5 for start in binned],
                [_HEIGHT * n / tallest for n in binned.values()],
                bottom=floor, width=width, color=colours[row], linewidth=0,
            )  # fmt: skip
            mean = sum(k * n for k, n in each.items()) / each.total()
            beside = axes.get_yaxis_transform()
            axes.text(1.01, floor + 0.15, _caption(each, mean), transform=beside, fontsize=9)
        labels = [textwrap.fill(row, 34) for row in reversed(list(counts))]
        axes.set_yticks(range(len(counts)), labels, va="bottom")
        axes.set_xlim(-1, highest + width + 1)
        axes.set_ylim(-0.05, max(1, len(counts)) + 0.05)
        axes.set_xlabel("visual tokens that enter the language model, per sample")
        axes.tick_params(axis="y", length=0)
        axes.set_title(title)
        if not counts:
            axes.text(0.5, 0.5, "no finished cell yet", transform=axes.transAxes, ha="center", color="#777")
    return figure


def _binned(counts: Counter[int], width: int) -> dict[int, int]:
    binned: Counter[int] = Counter()
    for tokens, samples in counts.items():
        binned[tokens // width * width] += samples
    return dict(binned)


def _caption(counts: Counter[int], mean: float) -> str:
    low, high = min(counts), max(counts)
    return f"all {low}" if low == high else f"mean {mean:.1f}\n{low}–{high}"


def spread(counts: Counter[int]) -> tuple[float, float]:
    """(mean, standard deviation over mean) of a method's counts."""
    n = counts.total()
    mean = sum(k * c for k, c in counts.items()) / n
    variance = sum(c * (k - mean) ** 2 for k, c in counts.items()) / n
    return mean, (variance**0.5 / mean if mean else 0.0)
