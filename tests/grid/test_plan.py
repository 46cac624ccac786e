"""Plans: written once, resolved once, answered from the cache, light."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from prunegrid.grid.builder import Builder
from prunegrid.grid.cell import Cell
from prunegrid.grid.options import Options

from .project import ROOT, Project

BLOCK = {"task": ["mini_vqa", "mini_pope"], "reducer": ["none", "prumerge"]}


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What hydra is asked to compose."""
    asked: list[str] = []
    real = Options.compose

    def counting(self: Options, overrides: list[str]) -> dict[str, Any]:
        asked.append(" ".join(overrides))
        return real(self, overrides)

    monkeypatch.setattr(Options, "compose", counting)
    return asked


def test_160_cells_compose_each_option_once(project: Project, composed: list[str]) -> None:
    budgets = [{"random": {"keep": k}} for k in range(1, 38)]
    rows = project.plan(
        {
            "task": ["mini_vqa", "mini_pope", "mini_sqa", "mini_textvqa"],
            "reducer": [*budgets, "none", "blind", "prumerge"],
        }
    ).rows
    assert len(rows) == 160
    options = ("reducer=random", "reducer=none", "reducer=blind", "reducer=prumerge")
    tasks = ("task=mini_vqa", "task=mini_pope", "task=mini_sqa", "task=mini_textvqa")
    assert sorted(composed) == sorted([*options, *tasks, "model=mini", "tuning=none", "decoding=greedy"])


def test_a_plan_without_changes_composes_and_writes_nothing(project: Project, composed: list[str]) -> None:
    first = project.plan(BLOCK)
    files = {f: f.stat().st_mtime_ns for f in project.results.rglob("*") if f.is_file()}
    composed.clear()
    assert project.plan().rows == first.rows
    assert composed == []
    assert {f: f.stat().st_mtime_ns for f in project.results.rglob("*") if f.is_file()} == files


@pytest.mark.parametrize("changed", ["conf/reducer/prumerge.yaml", "conf/study/mine.yaml", "data.dvc"])
def test_a_changed_input_is_seen_at_once(changed: str, project: Project) -> None:
    before = {r["id"] for r in project.plan(BLOCK).rows}
    file = project.root / changed
    text = file.read_text(encoding="utf-8")
    for old, new in (("fence: 1.5", "fence: 1.25"), ("- none", "- sequential"), ("aaaa", "eeee")):
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")
    after = {r["id"] for r in project.plan().rows}
    kept = {"conf/reducer/prumerge.yaml": 4, "conf/study/mine.yaml": 6, "data.dvc": 0}[changed]
    assert len(before & after) == kept  # none, blind and prumerge on two tasks, less what changed
    assert after - before or changed == "conf/study/mine.yaml"


def test_every_row_has_its_cell_file(project: Project) -> None:
    plan = project.plan(BLOCK)
    document = json.loads((project.results / "plan" / "mine.json").read_text(encoding="utf-8"))
    assert [r["id"] for r in document["cells"]] == [r["id"] for r in plan.rows]
    for row in plan.rows:
        file = project.results / "cells" / row["id"] / "cell.yaml"
        cell = Cell.from_dict(yaml.safe_load(file.read_text(encoding="utf-8")))
        assert (cell.id(), cell.prediction_id()) == (row["id"], row["prediction"])
        assert plan.by_id()[row["id"]] is row


def test_cell_files_are_plain_yaml_without_anchors(project: Project) -> None:
    like = {"random": {"keep": {"like": "prumerge"}}}
    tuned = {"reducer": ["topk_cls", like], "tuning": {"mini_lora": {"after": "mini_projector"}}}
    for row in project.plan(BLOCK, {**tuned, "seed": 8}, limit=8).rows:  # values that two keys share
        file = project.results / "cells" / row["id"] / "cell.yaml"
        expected = yaml.safe_dump(json.loads(json.dumps(row["cell"])), sort_keys=False)
        assert file.read_text(encoding="utf-8") == expected
        assert Cell.from_dict(row["cell"]).to_dict() == row["cell"]


def test_twins_are_made_once_not_per_cell(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    real = Builder.cell

    def counting(self: Builder, point: Any, where: str, twin: bool = True) -> Any:
        made.append(point)
        return real(self, point, where, twin)

    monkeypatch.setattr(Builder, "cell", counting)
    budgets = [{"random": {"keep": k}} for k in range(1, 11)]
    rows = project.plan({**BLOCK, "reducer": budgets, "seed": [0, 1, 2], "limit": [4, 8]}).rows
    shown = [row for row in rows if not row["support"]]
    asked = 10 + 2  # once more, before all: methods are asked about each reducer
    assert (len(shown), len(made)) == (120, 120 + 2 * 2 * 2 + asked)  # none and blind: per task and limit
    for row in shown:
        for twin in ("baseline", "blind"):
            (other,) = (r for r in rows if r["id"] == row[twin])
            assert other["cell"]["limit"] == row["cell"]["limit"] and other["column"] == row["column"]


def test_a_limit_makes_cells_of_its_own(project: Project) -> None:
    full = {r["id"] for r in project.plan(BLOCK).rows}
    trial = project.plan(choose={"limit": 8}).rows
    assert not full & {r["id"] for r in trial}
    assert {r["cell"]["limit"] for r in trial} == {8}


def test_accepted_code_counts_as_the_old_one(project: Project) -> None:
    before = project.plan(BLOCK).rows
    codes = {r["code"] for r in before}
    project.write("conf/accepted.yaml", {before[0]["code"]: "0123456789ab"})
    after = project.plan().rows
    assert {r["code"] for r in after} == codes - {before[0]["code"]} | {"0123456789ab"}
    assert [r["id"] for r in after] == [r["id"] for r in before]


def test_the_demo_has_the_grid_that_was_promised(project: Project) -> None:
    """PruMerge's Tables 4 and 5 in shape, full tokens, blind, random with five seeds: at least 30 cells."""
    project.write("conf/study/demo.yaml", (ROOT / "conf" / "study" / "demo.yaml").read_text(encoding="utf-8"))
    rows = [r for r in project.plan(name="demo").rows if not r["support"]]
    assert len(rows) >= 30
    reducers = {r["reducer"]["name"] for r in rows}
    assert reducers >= {
        "none",
        "blind",
        "random",
        "sequential",
        "spatial",
        "topk_cls",
        "prumerge",
        "prumerge_plus",
    }
    assert {r["seed"] for r in rows if r["reducer"]["name"] == "random"} == {0, 1, 2, 3, 4}
    assert {r["reducer"]["merge"] for r in rows if r["reducer"]["name"] == "prumerge"} == {True, False}


def test_a_changed_place_knows_what_stood_there(project: Project) -> None:
    def pasts() -> dict[tuple[str, str], str | None]:
        return {
            (r["model"], r["row"]): r.get("was") for r in project.plan(choose=chosen).rows if not r["support"]
        }

    text = (project.root / "conf" / "model" / "mini.yaml").read_text(encoding="utf-8")
    project.write("conf/model/other.yaml", text.replace("name: mini ", "name: other ", 1))
    chosen: dict[str, Any] = {}
    before = {
        (r["model"], r["row"]): r["id"]
        for r in project.plan(
            {"model": ["mini", "other"], "task": "mini_vqa", "reducer": ["none", "prumerge"]}
        ).rows
    }
    assert set(pasts().values()) == {None}
    file = project.root / "conf" / "reducer" / "prumerge.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("fence: 1.5", "fence: 2.5"), encoding="utf-8")
    changed = {(m, "prumerge"): before[m, "prumerge"] for m in ("mini", "other")}
    expected = {**dict.fromkeys([("mini", "none"), ("other", "none")]), **changed}
    assert pasts() == expected
    assert pasts() == expected  # still known when nothing has changed since
    chosen = {"limit": 4}
    assert set(pasts().values()) == {None}  # a trial beside a full run replaces nothing
