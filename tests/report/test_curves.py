"""Curves are found in the cells' own settings, and drawn so that a reader without colours can follow them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import colors

from prunegrid.report.budget import MEAN, budget
from prunegrid.report.cell import Cell
from prunegrid.report.curves import BUDGET, Curve, Point, curves
from prunegrid.report.drawings import drawings
from prunegrid.report.lines import names
from prunegrid.report.published import mean
from prunegrid.report.results import Study, load_study
from prunegrid.report.sensitivity import sensitivity
from prunegrid.report.study import build
from prunegrid.report.style import colour_of, marks, plt
from prunegrid.report.summary import Summary, summarise

from . import synthetic

Rows = Sequence[tuple[str, str, Mapping[str, Any]]]  # label, method, settings


def study(rows: Rows, columns: Sequence[str] = ("a",), **planned: Any) -> Summary:
    cells = []
    for column in columns:
        for label, reducer, settings in rows:
            entry = {
                "id": f"{label}-{column}",
                "prediction": "p",
                "row": label,
                "column": column,
                "model": "mini",
            }
            entry |= {
                "reducer": {"name": reducer, "_target_": "x", **settings},
                "tuning": {"name": "none"},
                **planned,
            }
            cells.append(Cell(Path("nowhere"), entry))
    return summarise(Study(Path("nowhere"), {"study": "s"}, tuple(cells)))


def found(rows: Rows) -> dict[str, list[Any]]:
    return {f"{c.parameter}: {c.label}": [p.value for p in c.points] for c in curves(study(rows))}


def test_rows_that_differ_in_one_setting_are_a_curve_in_its_order() -> None:
    rows = [(f"alpha {a}", "vtip", {"alpha": a, "reading": "slow"}) for a in (0.1, 0.025, 0.05)]
    rows += [("bend", "vtip", {"alpha": 0.05, "reading": "bend"}), ("all", "none", {})]
    assert found(rows) == {"alpha: vtip": [0.025, 0.05, 0.1]}


def test_two_values_and_words_alone_are_no_curve() -> None:
    layers = [(f"{m}{n}", "prumerge", {"layer": n, "merge": m}) for n in (-2, -1) for m in (True, False)]
    words = [(w, "ivtp", {"aggregation": w}) for w in ("mean", "max", "multiply", "residual")]
    assert found([*layers, *words]) == {}


def test_a_word_comes_after_the_numbers() -> None:
    rows = [(f"group {g}", "ivtp", {"group": g}) for g in ("all", 6, 1, 3)]
    assert found(rows) == {"group: ivtp": [1, 3, 6, "all"]}


def test_budgets_of_all_kinds_are_one_parameter() -> None:
    rows = [(f"top-k CLS {k}", "topk_cls", {"keep": k, "layer": -2}) for k in (64, 16, 32)]
    rows += [(f"spatial {n}", "spatial", {"rows": n, "columns": n}) for n in (4, 6, 8)]
    rows += [(f"SparseVLM {k} %", "sparsevlm", {"keep": [k, k // 2]}) for k in (66, 30, 12)]
    assert found(rows) == {
        "budget: top-k CLS": [16, 32, 64],
        "budget: spatial": [(4, 4), (6, 6), (8, 8)],
        "budget: SparseVLM": [(12, 6), (30, 15), (66, 33)],
    }


def test_settings_that_move_together_are_one_axis() -> None:
    rows = [(f"VTIP {h} / {1 - h}", "vtip", {"heavy": h, "recent": 1 - h}) for h in (0.75, 0.25, 0.5)]
    assert found(rows) == {"heavy / recent: VTIP": [(0.25, 0.75), (0.5, 0.5), (0.75, 0.25)]}


def test_curves_of_other_methods_models_and_tunings_are_kept_apart() -> None:
    rows = [(f"{v}, PI", "ivtp", {"group": v}) for v in (1, 2, 3)]
    tuned = study(rows).study.cells
    tuned += tuple(
        Cell(
            c.root,
            {
                **c.planned,
                "row": c.row.replace("PI", "tuned"),
                "tuning": {"name": "full", "reducer": c.reducer},
            },
        )
        for c in tuned
    )
    summary = summarise(Study(Path("nowhere"), {"study": "s"}, tuned))
    assert [(c.label, len(c.points)) for c in curves(summary)] == [("ivtp, PI", 3), ("ivtp, tuned", 3)]


def test_two_curves_never_share_a_name() -> None:
    points = (Point("r", 1),)
    same = [Curve("k", "x", "a", points), Curve("k", "x", "b", points), Curve("k", "x", "b", points)]
    assert names(same) == ["x (a)", "x (b), 1", "x (b), 2"]


def measured(root: Path, sweep: Mapping[str, dict[str, Any]], reducer: str = "vtip") -> Summary:
    """Results of rows of one method with the settings given, between all tokens and none."""
    rows = {"none": ("none", 144, 1), **{row: (reducer, 20 + 8 * i, 1) for i, row in enumerate(sweep)}}
    rows["blind"] = ("blind", 0, 1)
    synthetic.write_study(root, rows=rows, columns=["a", "b"])
    loaded = load_study(root, "demo")
    for cell in loaded.cells:
        if cell.row in sweep:
            cell.planned["reducer"].clear()  # type: ignore[attr-defined]
            cell.planned["reducer"].update({"name": reducer, **sweep[cell.row]})  # type: ignore[attr-defined]
    return summarise(loaded)


def test_a_setting_is_drawn_with_its_scores_intervals_and_tokens(root: Path) -> None:
    summary = measured(root, {f"alpha {a}": {"alpha": a} for a in (0.025, 0.1, 0.05)})
    figure = sensitivity(summary, curves(summary), "alpha")
    score, tokens = figure.axes[0], figure.axes[2]
    line = next(each for each in score.lines if len(each.get_xdata()) == 3)
    wanted = [summary.fields[f"alpha {a}", "a"] for a in (0.025, 0.05, 0.1)]
    assert list(line.get_xdata()) == [0.025, 0.05, 0.1]
    assert list(line.get_ydata()) == pytest.approx([f.score.value for f in wanted if f.score])
    (band,) = score.collections
    lows = {round(float(y), 6) for y in np.asarray(band.get_paths()[0].vertices)[:, 1]}
    assert lows >= {round(float(f.score.low), 6) for f in wanted if f.score and f.score.low}
    assert list(tokens.lines[0].get_ydata()) == [20, 36, 28]
    assert [text.get_text() for text in tokens.get_xticklabels()] == ["0.025", "0.05", "0.1"]
    plt.close(figure)


def test_words_have_a_place_on_the_axis(root: Path) -> None:
    summary = measured(root, {f"group {g}": {"group": g} for g in (1, 3, 6, "all")}, "ivtp")
    figure = sensitivity(summary, curves(summary), "group")
    assert [text.get_text() for text in figure.axes[2].get_xticklabels()] == ["1", "3", "6", "all"]
    plt.close(figure)


def test_budgets_are_drawn_at_the_measured_tokens(root: Path) -> None:
    summary = measured(root, {f"top {k}": {"keep": k} for k in (5, 6, 7)}, "topk_cls")
    (curve,) = curves(summary)
    assert curve.parameter == BUDGET
    figure = budget(summary, [curve])
    assert figure is not None
    line = next(each for each in figure.axes[0].lines if len(each.get_xdata()) == 3)
    assert list(line.get_xdata()) == [20, 28, 36]
    assert line.get_color() == colour_of("topk_cls")
    plt.close(figure)
    assert budget(summary, []) is None


def test_the_mean_of_several_benchmarks_is_a_panel_of_its_own(root: Path) -> None:
    one = measured(root, {f"top {k}": {"keep": k} for k in (5, 6, 7)}, "topk_cls")
    two = {
        key: field
        for row, field in one.fields.items()
        for key, field in ((row, field), ((row[0], "b"), field))
    }
    summary = replace(one, columns=("a", "b"), fields=two)
    figure = budget(summary, curves(one))
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes if axes.axison] == ["a", "b", MEAN]
    line = next(each for each in figure.axes[2].lines if len(each.get_xdata()) == 3)
    wanted = [mean([summary.fields[f"top {k}", column] for column in "ab"]) for k in (5, 6, 7)]
    assert list(line.get_xdata()) == [20, 28, 36]
    assert list(line.get_ydata()) == pytest.approx([w.value for w in wanted if w])
    unfinished = {**two, ("top 6", "b"): replace(two["top 6", "b"], score=None, state="missing")}
    figure = budget(replace(summary, fields=unfinished), curves(one))
    assert figure is not None and len(figure.axes[2].lines[0].get_xdata()) == 2
    plt.close("all")


def test_every_figure_has_a_name_and_a_caption(root: Path) -> None:
    summary = measured(
        root, {f"{h} / {r}": {"heavy": h, "recent": r} for h, r in ((0.1, 0.9), (0.5, 0.5), (0.9, 0.1))}
    )
    made = list(drawings(summary))
    assert [each.stem for each in made] == ["over_heavy_recent"]
    assert made[0].heading == "Score over heavy / recent" and "heavy / recent alone" in made[0].caption
    plt.close("all")


def test_a_study_without_curves_has_no_such_figures(root: Path) -> None:
    synthetic.write_study(root)
    assert list(drawings(summarise(load_study(root, "demo")))) == []


def test_lines_differ_without_their_colours() -> None:
    made = marks([(f"row {i}", "prumerge") for i in range(24)])
    assert len({(m.marker, m.hollow) for m in made.values()}) == 24
    near = list(made.values())[:8]
    assert len({str(m.line) for m in near}) == 8


def test_a_method_has_one_colour_in_all_studies() -> None:
    first = marks([("a", "ivtp"), ("b", "vtip")])
    second = marks([("x", "tome"), ("y", "vtip"), ("z", "a method of tomorrow")])
    assert first["b"].colour == second["y"].colour == colour_of("vtip")
    assert colors.is_color_like(second["z"].colour) and second["z"].colour == colour_of(
        "a method of tomorrow"
    )


def test_the_page_shows_the_figures_and_the_folder_holds_them_as_vectors(root: Path, tmp_path: Path) -> None:
    sweep = {f"tau {t}": ("ivtp", 20 + i, 1) for i, t in enumerate((0.1, 0.2, 0.3))}
    synthetic.write_study(root, rows=sweep, columns=["a"])
    plan = root / "plan" / "demo.json"
    planned = json.loads(plan.read_text())
    for cell in planned["cells"]:
        cell["reducer"] = {"name": "ivtp", "tau": float(cell["row"].removeprefix("tau "))}
    plan.write_text(json.dumps(planned))
    old = tmp_path / "out" / "figures" / "over_alpha.svg"
    old.parent.mkdir(parents=True)
    old.touch()
    build(root, "demo", tmp_path / "out")
    assert {file.name for file in old.parent.iterdir()} == {"over_tau.svg", "over_tau.png"}
    assert "<h2>Score over tau</h2>" in (tmp_path / "out" / "index.html").read_text()
