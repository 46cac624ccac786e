"""Measured speed beside its twin: the same point, the same machine, and a slow-down called one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prunegrid.report import figures, speed
from prunegrid.report.results import load_study
from prunegrid.report.study import build
from prunegrid.report.summary import summarise

from .synthetic import write_study

ROWS = {
    "none": ("none", 144, 1),
    "random keep=36": ("random", 36, 1),
    "topk_cls keep=36": ("topk_cls", 36, 1),
}


def point(total: float, flops: float, batch: int = 1, new: int = 8) -> dict[str, Any]:
    phases = {key: {"median": 0.002} for key in ("first", "step", "reducer")}
    return {
        "batch_size": batch,
        "new_tokens": new,
        "visual_tokens": 36.0,
        "seconds": {
            **phases,
            "total": {"median": total, "p10": total, "p90": total},
            "memory": {"prefill": 2**31},
        },
        "flops": {"prefill": flops / 2, "decode": flops, "reducer": flops / 2},
        "roofline": None,
    }


def lay(
    root: Path, row: str, points: list[dict[str, Any]], machine: str = "box", dtype: str = "bfloat16"
) -> None:
    for cell in load_study(root, "demo").cells:
        if cell.row == row and cell.column == "mini_vqa":
            made = {"machine": {"name": machine, "threads": 1}, "dtype": dtype, "points": points,
                    "taken": "2026-01-02T03:04:05+00:00"}  # fmt: skip
            (cell.folder / "latency.json").write_text(json.dumps(made), encoding="utf-8")


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    plan = write_study(tmp_path, rows=ROWS, columns=("mini_vqa",))
    none = next(c["id"] for c in plan if c["row"] == "none")
    file = tmp_path / "plan" / "demo.json"
    made = json.loads(file.read_text(encoding="utf-8"))
    for cell in made["cells"]:
        cell["baseline"] = none
    file.write_text(json.dumps(made), encoding="utf-8")
    lay(tmp_path, "none", [point(0.2, 100), point(1.0, 400, batch=8)])
    lay(tmp_path, "random keep=36", [point(0.1, 25), point(1.25, 100, batch=8)])
    return tmp_path


def test_a_point_is_set_beside_the_same_point(measured: Path) -> None:
    found = {(s.row, s.point["batch_size"]): s for s in speed.speeds(summarise(load_study(measured, "demo")))}
    assert found["random keep=36", 1].measured == pytest.approx(2)
    assert found["random keep=36", 1].allowed("flops") == pytest.approx(4)
    assert found["random keep=36", 1].allowed("roofline") is None
    assert found["random keep=36", 8].measured == pytest.approx(0.8)
    assert found["none", 1].measured == 1


def test_a_slow_down_is_called_one(measured: Path) -> None:
    rows = speed.table(speed.speeds(summarise(load_study(measured, "demo"))))
    texts = {(r[0], r[1]): r[rows[0].index("speed-up")] for r in rows[1:]}
    assert texts["random keep=36", "8"] == "0.80x slow-down"
    assert texts["random keep=36", "1"] == "2.00x"
    assert texts["none", "1"] == "1.00x"
    assert rows[1][rows[0].index("peak GiB")] == "2.0"


def test_flops_without_the_methods_own_say_so(measured: Path) -> None:
    """An older measurement, or a method that does not state it."""
    rows = speed.table(speed.speeds(summarise(load_study(measured, "demo"))))
    assert [r[-2] for r in rows[1:] if r[0] == "random keep=36"] == ["4.00x", "4.00x"]
    for flops in ({"prefill": 20, "decode": 30}, {"prefill": 20, "decode": 30, "reducer": None}):
        lay(measured, "random keep=36", [point(0.1, 25) | {"flops": flops}])
        found = {r[0]: r for r in speed.table(speed.speeds(summarise(load_study(measured, "demo"))))}
        assert found["random keep=36"][-2:] == ["4.00x+", "–"]


@pytest.mark.parametrize("other", [{"machine": "another box"}, {"dtype": "float32"}])
def test_other_conditions_are_no_comparison(other: dict[str, str], measured: Path) -> None:
    lay(measured, "topk_cls keep=36", [point(0.1, 25)], **other)
    found = {s.row: s for s in speed.speeds(summarise(load_study(measured, "demo")))}
    assert found["topk_cls keep=36"].measured is None
    assert speed.table([found["topk_cls keep=36"]])[1][-3:] == ["–", "–", "–"]


def test_one_axis_holds_only_what_was_measured_alike(measured: Path) -> None:
    """A point of another batch or machine is in the table, not in the figure."""
    lay(measured, "topk_cls keep=36", [point(0.001, 25)], machine="another box")
    lay(measured, "random keep=36", [point(1.25, 100, batch=8)])
    summary = summarise(load_study(measured, "demo"))
    axis = figures.seconds(summary)
    assert "batch 8, new tokens 8" in axis.label
    drawn = {field.row: axis.value(field) for field in summary.fields.values()}
    assert drawn == {"none": 1000, "random keep=36": 1250, "topk_cls keep=36": None}


def test_how_many_calls_a_median_is_of(measured: Path) -> None:
    lay(measured, "random keep=36", [point(0.1, 25) | {"repeats": 3}])
    rows = speed.table(speed.speeds(summarise(load_study(measured, "demo"))))
    assert {r[0]: r[rows[0].index("calls")] for r in rows[1:]} == {"none": "–", "random keep=36": "3"}


def test_the_page_shows_it_only_where_it_was_measured(measured: Path, tmp_path: Path) -> None:
    build(measured, "demo", measured / "out")
    page = (measured / "out" / "index.html").read_text(encoding="utf-8")
    assert "Measured speed" in page and "slow-down" in page
    assert (measured / "out" / "front_seconds.svg").exists()
    assert "0.80x slow-down" in (measured / "out" / "speed.csv").read_text(encoding="utf-8")
    write_study(tmp_path / "plain", rows=ROWS, columns=("mini_vqa",))
    build(tmp_path / "plain", "demo", tmp_path / "plain" / "out")
    assert "Measured speed" not in (tmp_path / "plain" / "out" / "index.html").read_text(encoding="utf-8")
    assert not (tmp_path / "plain" / "out" / "speed.csv").exists()


def test_where_and_when_it_was_measured_is_said(measured: Path) -> None:
    assert "On box, 2026-01-02. " in speed.section(summarise(load_study(measured, "demo")))


def test_a_machine_that_no_file_names_is_told_once(measured: Path) -> None:
    """An empty column would not say why."""
    told = "no conf/hardware file names &#x27;box&#x27;: the roofline bound is left out"
    assert speed.section(summarise(load_study(measured, "demo"))).count(told) == 1
    bound = {"roofline": {"prefill": 0.01, "decode": 0.02}}
    lay(measured, "none", [point(0.2, 100) | bound])
    lay(measured, "random keep=36", [point(0.1, 25) | bound])
    assert "no conf/hardware file" not in speed.section(summarise(load_study(measured, "demo")))
