"""The attention that traces note becomes a curve, and adaptive methods a line where they cut it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prunegrid.report.attention import attention, tail
from prunegrid.report.results import load_study
from prunegrid.report.style import plt
from prunegrid.report.summary import summarise

from . import synthetic

ROWS = {"none": ("none", 144, 1), "watched": ("attention_tail", 36, 1), "PruMerge": ("prumerge", None, 1)}


def note(root: Path) -> None:
    """Sample i notes (i + 1) / rank."""
    for file in (root / "predictions").glob("mini-attention_tail-*/trace.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        ranks = (1, 2, 4, 8)
        synthetic.lines(
            file,
            [r | {"notes": {f"attention rank {n}": (i + 1) / n for n in ranks}} for i, r in enumerate(rows)],
        )


def test_values_are_gathered_by_rank() -> None:
    traces = [
        {"notes": {"attention rank 10": 0.1, "attention rank 2": 0.5, "selected": 3}},
        {"notes": {}},
        {},
    ]
    assert {rank: list(values) for rank, values in tail(traces).items()} == {2: [0.5], 10: [0.1]}
    assert list(tail(traces)) == [2, 10]


def test_a_curve_is_the_median_with_its_band_on_two_log_axes(root: Path) -> None:
    synthetic.write_study(root, rows=ROWS, columns=["a"], samples=11)
    note(root)
    summary = summarise(load_study(root, "demo"))
    figure = attention(summary)
    assert figure is not None
    axes = figure.axes[0]
    curve, cut = axes.lines
    assert list(curve.get_xdata()) == [1, 2, 4, 8]
    assert list(curve.get_ydata()) == pytest.approx([6, 3, 1.5, 0.75])
    band = axes.collections[0].get_paths()[0].vertices  # type: ignore[union-attr]
    assert band[:, 1].max() == pytest.approx(10) and band[:, 1].min() == pytest.approx(2 / 8)
    assert axes.get_xscale() == axes.get_yscale() == "log"
    tokens = summary.fields["PruMerge", "a"].tokens
    assert tokens is not None and cut.get_xdata()[0] == pytest.approx(tokens[0])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["watched", "PruMerge"]
    plt.close(figure)


def test_nothing_noted_is_no_figure(root: Path) -> None:
    synthetic.write_study(root, rows=ROWS, columns=["a"])
    assert attention(summarise(load_study(root, "demo"))) is None
