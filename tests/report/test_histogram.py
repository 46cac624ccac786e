from collections import Counter
from pathlib import Path

import pytest

from prunegrid.report.histogram import cell_histogram, spread, study_histogram, token_counts
from prunegrid.report.results import load_study
from prunegrid.report.style import plt
from prunegrid.report.summary import summarise

from . import synthetic


def test_counts_are_those_of_the_trace(root: Path) -> None:
    synthetic.write_study(root, columns=["a"], rows={"topk_cls keep=36": ("topk_cls", 36, 1)}, samples=7)
    (cell,) = load_study(root, "demo").cells
    assert token_counts(cell) == Counter({36: 7})


def test_a_ridge_per_finished_row(root: Path) -> None:
    synthetic.write_study(root, columns=["a"], missing=[("blind", "a")])
    figure = study_histogram(summarise(load_study(root, "demo")))
    labels = [label.get_text().replace("\n", " ") for label in figure.axes[0].get_yticklabels()]
    assert labels == [row for row in reversed(synthetic.ROWS) if row != "blind"]
    plt.close(figure)


def test_a_shared_prediction_is_counted_once(root: Path) -> None:
    cells = synthetic.write_study(root, rows={"topk_cls keep=36": ("topk_cls", 36, 1)}, samples=9)
    for cell in cells:  # two scorers of the same answers
        cell["prediction"] = cells[0]["prediction"]
    synthetic.dump(root / "plan" / "demo.json", {"study": "demo", "cells": cells})
    figure = study_histogram(summarise(load_study(root, "demo")))
    assert [text.get_text() for text in figure.axes[0].texts] == ["all 36"]
    assert len(figure.axes[0].patches) == 1
    plt.close(figure)


def test_bins_hold_all_samples(root: Path) -> None:
    synthetic.write_study(root, columns=["a"], rows={"prumerge": ("prumerge", None, 1)}, samples=200)
    (cell,) = load_study(root, "demo").cells
    figure = cell_histogram(cell)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    tallest = max(heights)
    binned = Counter(token // 2 for token in token_counts(cell).elements())  # 60 tokens in 48 bins: 2 each
    assert sorted(round(h / tallest * max(binned.values())) for h in heights) == sorted(binned.values())
    plt.close(figure)


def test_spread() -> None:
    assert spread(Counter({10: 2, 20: 2})) == (15, pytest.approx(5 / 15))
    assert spread(Counter({0: 3})) == (0, 0)
