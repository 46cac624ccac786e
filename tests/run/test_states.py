"""A cell is stale where Snakemake would make something of it anew: other code, or an input that is newer and another."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from grid.project import Project
from prunegrid.grid.cell import Cell
from prunegrid.grid.plan import look
from prunegrid.run.files import Files, write_json
from prunegrid.run.main import main
from prunegrid.run.state import State, states

from . import lab, made


def finish(project: Project, row: dict[str, Any], **more: Any) -> Files:
    """All stages of a row as the rules run them, with answers made by hand."""
    cell = Cell.from_dict(row["cell"])
    files = made.finish(project, cell, made.yes)
    seen = json.loads(files.provenance.read_text(encoding="utf-8"))
    write_json(files.provenance, {**seen, "code": row["code"], **more})
    for stage, code in (("score", row["scorer"]), ("cost", row["costing"])):
        assert main(["--root", str(project.root), stage, cell.id(), "--code", code]) == 0
    return files


def later(file: Path, text: str | None = None) -> None:
    """Write a file again, in a future that no clock's resolution hides."""
    file.write_text(text if text is not None else file.read_text(encoding="utf-8"), encoding="utf-8")
    then = file.stat().st_mtime_ns + 5_000_000_000
    os.utime(file, ns=(then, then))


@pytest.fixture
def row(project: Project) -> dict[str, Any]:
    lab.study(project, {"random": {"keep": 4}}, task="mini_pope")
    return now(project)[0]


def now(project: Project) -> list[dict[str, Any]]:
    return look(project.root, project.results, "mine").rows


def state(project: Project, row: dict[str, Any], **changed: Any) -> State:
    rows = [{**r, **changed} if r["id"] == row["id"] else r for r in now(project)]
    return states(project.results, rows)[row["id"]]


def test_other_code_of_the_scorer_or_of_the_costs(project: Project, row: dict[str, Any]) -> None:
    finish(project, row)
    assert state(project, row) == State("done")
    assert state(project, row, scorer="new") == State("stale", f"score: code {row['scorer']} is now new")
    assert state(project, row, costing="new") == State("stale", f"cost: code {row['costing']} is now new")
    assert state(project, row, costing="new", support=True) == State("done")  # nobody asks for its cost


@pytest.mark.parametrize(("name", "stage"), [("records.jsonl", "score"), ("trace.jsonl", "cost")])
def test_other_answers_than_those_that_were_judged(
    name: str, stage: str, project: Project, row: dict[str, Any]
) -> None:
    files = finish(project, row)
    file = files.prediction / name
    later(file)
    assert state(project, row) == State("done")  # the same ones again
    later(file, file.read_text(encoding="utf-8") + "\n")
    assert state(project, row) == State("stale", f"{stage}: {name} is newer")


def test_a_budget_like_another_cells_follows_that_cell(project: Project) -> None:
    lab.study(project, {"random": {"keep": {"like": "prumerge"}}}, task="mini_pope")
    rows = now(project)
    row = next(r for r in rows if r["like"])
    twin = next(r for r in rows if r["prediction"] == row["like"])
    source = finish(project, twin)
    seen = made_of(source)
    finish(project, row, budgets={twin["prediction"]: seen})
    assert state(project, row) == State("done")
    later(source.trace)
    assert state(project, row) == State("done")
    later(source.trace, source.trace.read_text(encoding="utf-8") + "\n")
    who = f"{twin['prediction']}, which sets its budget,"
    assert state(project, row) == State("stale", f"{who} was predicted again")
    was = json.loads(source.provenance.read_text(encoding="utf-8"))
    write_json(source.provenance, {**was, "code": "old"})
    assert state(project, row) == State("stale", f"{who} is stale: code old is now {twin['code']}")
    source.trace.unlink()
    assert state(project, row) == State("stale", f"{who} is gone")


def made_of(files: Files) -> str:
    from prunegrid.run.files import file_hash

    return file_hash(files.trace)


def test_a_listing_and_a_dry_run_write_nothing(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.study("mine", {"model": "tiny", "task": "mini_pope", "reducer": "none"})
    for words in (
        ["ls", "mine"],
        ["ls", "mine", "--limit", "3"],
        ["cell", "reducer=prumerge", "reducer.k=3", "model=tiny", "task=mini_pope", "--dry-run"],
    ):
        assert main(["--root", str(project.root), *words]) == 0
        assert not project.results.exists(), words
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert lines[0].startswith("would run      tiny-prumerge-mini_pope-")
    assert [line.split()[2].split("-")[1] for line in lines] == ["prumerge", "none", "blind"]
