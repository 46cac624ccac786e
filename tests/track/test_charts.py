"""Which charts a study gets: cost, measured latency, and the parameters that it sweeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prunegrid.report.results import Study, load_study
from prunegrid.track.charts import axes, charts
from prunegrid.track.entry import flatten
from prunegrid.track.views import pack, unpack
from report import synthetic

TAUS = (0.0, 0.15, 0.3)


def sweep(root: Path, columns: tuple[str, ...] = ("a", "b")) -> Study:
    """One method at three thresholds on every task but the last, at one there; beside it another method at two budgets."""
    rows = {f"ivtp tau={tau}": ("ivtp", 36, 1) for tau in TAUS}
    cells = synthetic.write_study(
        root, columns=list(columns), rows={**rows, "topk keep=16": ("topk_cls", 16, 1)}
    )
    for cell in cells:
        if cell["reducer"]["name"] == "ivtp":
            cell["reducer"]["tau"] = (
                0.3 if cell["column"] == columns[-1] else float(cell["row"].split("=")[1])
            )
    synthetic.dump(root / "plan" / "demo.json", {"study": "demo", "cells": cells})
    return load_study(root, "demo")


def measured(study: Study, column: str) -> None:
    for cell in study.cells:
        if cell.column == column:
            points = [
                {"batch_size": 1, "new_tokens": n, "seconds": {"total": {"median": 0.1}}} for n in (1, 16)
            ]
            synthetic.dump(cell.folder / "latency.json", {"points": points})


def titles(study: Study) -> dict[str, list[str]]:
    """Section -> its charts, as the interface puts them together."""
    made = charts(study)
    names = {section["uuid"]: section["name"] for section in made["compareRunSections"]}
    found: dict[str, list[str]] = {}
    for chart in made["compareRunCharts"]:
        found.setdefault(names[chart["metricSectionId"]], []).append(chart["displayName"])
    return found


def test_cost_latency_and_sweeps(tmp_path: Path) -> None:
    study = sweep(tmp_path)
    measured(study, "b")
    found = {axis.title: (axis.key, axis.type, axis.tasks) for axis in axes(load_study(tmp_path, "demo"))}
    assert found == {
        "Score over tokens": ("equivalent_tokens", "METRIC", ("a", "b")),
        "Score over FLOPs": ("relative_flops", "METRIC", ("a", "b")),
        "Score over milliseconds, batch 1, 1 new token": ("latency_ms/batch1_new1/total", "METRIC", ("b",)),
        "Score over milliseconds, batch 1, 16 new tokens": (
            "latency_ms/batch1_new16/total",
            "METRIC",
            ("b",),
        ),
        "Score over reducer.tau": ("reducer.tau", "PARAM", ("a",)),  # keep differs between methods alone
    }


def test_every_axis_is_a_section_with_a_chart_per_task(tmp_path: Path) -> None:
    assert titles(sweep(tmp_path)) == {
        "Score over tokens": ["Score over tokens: a", "Score over tokens: b"],
        "Score over FLOPs": ["Score over FLOPs: a", "Score over FLOPs: b"],
        "Score over reducer.tau": ["Score over reducer.tau: a"],
        "All swept parameters": ["All swept parameters"],
    }


def test_a_swept_parameter_has_the_name_that_runs_give_it(tmp_path: Path) -> None:
    study = sweep(tmp_path)
    (swept,) = [axis.key for axis in axes(study) if axis.type == "PARAM"]
    assert flatten(study.cells[0].planned)[swept] == "0.0"


def test_nothing_is_charted_that_is_not_finished(tmp_path: Path) -> None:
    rows = {"none": ("none", 144, 1), "topk": ("topk_cls", 36, 1)}
    synthetic.write_study(tmp_path, rows=rows, columns=["a", "b"], missing=[("none", "b"), ("topk", "b")])
    assert {axis.tasks for axis in axes(load_study(tmp_path, "demo"))} == {("a",)}
    synthetic.write_study(tmp_path, "none", rows=rows, columns=["c"], missing=[("none", "c"), ("topk", "c")])
    assert axes(load_study(tmp_path, "none")) == []


def test_ids_differ_and_every_chart_has_a_section(tmp_path: Path) -> None:
    made = charts(sweep(tmp_path))
    sections = [section["uuid"] for section in made["compareRunSections"]]
    ids = [chart["uuid"] for chart in made["compareRunCharts"]]
    assert len({*sections, *ids}) == len(sections) + len(ids)
    assert {chart["metricSectionId"] for chart in made["compareRunCharts"]} <= set(sections)


def test_sections_of_generated_bars_are_folded(tmp_path: Path) -> None:
    study = sweep(tmp_path)
    measured(study, "a")
    shown: dict[str, Any] = {
        s["name"]: s["display"] for s in charts(load_study(tmp_path, "demo"))["compareRunSections"]
    }
    assert not any(
        shown[name] for name in ("score", "task", "flops", "latency_ms/batch1_new1", "Model metrics")
    )
    assert shown["Score over tokens"] and shown["Score over reducer.tau"]


def test_a_study_of_many_tasks_fits_into_a_tag(tmp_path: Path) -> None:
    state = charts(sweep(tmp_path, tuple(f"a_benchmark_of_some_length_{i}" for i in range(40))))
    assert len(state["compareRunCharts"]) == 40 + 40 + 39 + 1
    assert len(json.dumps({"name": "charts", "state": pack(state)})) < 20_000 < len(json.dumps(state))
    assert unpack(pack(state)) == state
