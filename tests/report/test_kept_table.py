"""What kept.json says reaches the page: masks, counts, clutter; and nothing where nothing is known."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from prunegrid.report import kept_table
from prunegrid.report.clutter import clutter, means
from prunegrid.report.results import load_study
from prunegrid.report.study import build
from prunegrid.report.style import plt
from prunegrid.report.summary import Summary, summarise

from . import synthetic

FIXED, ADAPTIVE = "topk_cls keep=36", "prumerge select=iqr merge=True"


def near(value: float, half: float = 0.02) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def masks(precision: float, **more: Any) -> dict[str, Any]:
    objects = {
        "precision": near(precision),
        "recall": near(0.5),
        "base": near(0.25),
        "text_recall": near(0.75),
    }
    return {"objects": objects, **more}


def tokens(low: int, high: int) -> dict[str, Any]:
    spread = {"mean": near(30.0, 2), "variation": near(0.4), "under": near(0.125)}
    return {"tokens": {**spread, "min": low, "max": high, "floor": 4}}


CLUTTER = {"clutter": {"spearman": near(0.6), "things_tokens": [[2, 10], [2, 20], [3, 30], [5, 40]]}}
SAID: dict[str, Mapping[str, Any]] = {
    "none": {**masks(0.25), **tokens(144, 144)},
    FIXED: {**masks(0.8), **tokens(36, 36)},
    ADAPTIVE: {**masks(0.9, represented=masks(0.3)["objects"]), **tokens(6, 60), **CLUTTER},
}


def write(root: Path, said: Mapping[str, Mapping[str, Any]], column: str = "mini_vqa") -> Summary:
    """A study of two benchmarks; kept.json of the rows in `said`, on one of them."""
    for cell in synthetic.write_study(root):
        if cell["row"] in said and cell["column"] == column:
            synthetic.dump(root / "cells" / cell["id"] / "kept.json", said[cell["row"]])
    return summarise(load_study(root, "demo"))


def test_a_table_per_benchmark_with_masks_and_one_of_counts(root: Path) -> None:
    masked, counts = kept_table.sheets(write(root, SAID))
    assert masked.title == "Kept patches on the objects: mini_vqa" and "25.0 ±2.0 %" in masked.lead
    found = {row[0]: dict(zip(masked.head, row, strict=True)) for row in masked.rows}
    assert list(found) == ["none", FIXED, ADAPTIVE]
    assert found[FIXED]["precision, %"] == "80.0 ±2.0" and found[FIXED]["gain"] == "3.20"
    assert found[FIXED]["precision with mixed, %"] == "–"
    assert found[ADAPTIVE]["precision with mixed, %"] == "30.0 ±2.0" and found["none"]["gain"] == "1.00"
    assert [row[0] for row in counts.rows] == [ADAPTIVE]  # a fixed number has no spread
    line = dict(zip(counts.head, counts.rows[0], strict=True))
    assert line["range"] == "6–60" and line["variation"] == "0.40 [0.38, 0.42]"
    assert line["below floor"] == "12.5 [10.5, 14.5] % (< 4)" and line["clutter"] == "0.60 [0.58, 0.62]"


def test_columns_that_nothing_is_known_of_are_left_out(root: Path) -> None:
    (sheet,) = kept_table.sheets(write(root, {FIXED: SAID[FIXED]}))
    assert not [head for head in sheet.head if "mixed" in head]


def test_nothing_is_shown_where_nothing_is_known(root: Path) -> None:
    summary = write(root, {})
    assert kept_table.sheets(summary) == [] and kept_table.lines(summary) == []
    assert clutter(summary) is None


def test_seeds_are_joined(root: Path) -> None:
    cells = synthetic.write_study(root, columns=["a"])
    seeds = [cell for cell in cells if cell["reducer"]["name"] == "random"]
    for cell, value in zip(seeds, (0.2, 0.3, 0.4), strict=True):
        synthetic.dump(root / "cells" / cell["id"] / "kept.json", masks(value))
    summary = summarise(load_study(root, "demo"))
    joined = kept_table.of_field(summary.fields[seeds[0]["row"], "a"])["objects/precision"]
    assert joined.value == pytest.approx(0.3) and joined.half is not None and joined.half > 0.02


def test_means_over_pictures_of_as_many_things() -> None:
    assert means([(2, 10), (2, 20), (3, 30)])[0][:2] == (2, 15)
    half = means([(2, 10), (2, 20)])[0][2]
    assert half == pytest.approx(1.96 * 50**0.5 / 2**0.5, rel=1e-3)
    assert means([(3, 30)]) == [(3, 30, 0.0)]


def test_clutter_has_a_line_per_adaptive_method(root: Path) -> None:
    figure = clutter(write(root, SAID))
    assert figure is not None
    (axes,) = figure.axes
    (label,) = [text.get_text() for text in axes.get_legend().get_texts()]
    assert label.startswith(ADAPTIVE) and "ρ = 0.60 [0.58, 0.62]" in label
    plt.close(figure)


def test_the_page_has_it_all_and_forgets_what_is_gone(root: Path, tmp_path: Path) -> None:
    write(root, SAID)
    build(root, "demo", tmp_path / "out")
    text = (tmp_path / "out" / "index.html").read_text()
    assert "Kept patches on the objects: mini_vqa" in text and "How the numbers of tokens are spread" in text
    assert "Spearman" in text and (tmp_path / "out" / "clutter.svg").exists()
    rows = list(csv.DictReader((tmp_path / "out" / "kept.csv").open(encoding="utf-8")))
    assert {row["row"] for row in rows} == set(SAID)
    (one,) = [row for row in rows if row["row"] == ADAPTIVE]
    assert float(one["represented_precision_low"]) == pytest.approx(0.28)
    for file in (root / "cells").rglob("kept.json"):
        file.unlink()
    build(root, "demo", tmp_path / "out")
    assert "Kept patches on" not in (tmp_path / "out" / "index.html").read_text()
    assert not list((tmp_path / "out").glob("clutter.*")) and not (tmp_path / "out" / "kept.csv").exists()
