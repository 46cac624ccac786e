"""`prunegrid compare CELL CELL`, checked against figures worked out by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from grid.project import Project
from prunegrid.grid.cell import Cell
from prunegrid.run.files import Files, ResultError, read_json, write_json
from prunegrid.run.main import main
from prunegrid.run.score import score
from prunegrid.run.versus import versus

from . import lab, made


@pytest.fixture
def two(project: Project) -> list[Cell]:
    """A reducer that always says yes, and full tokens that are always right; on POPE."""
    cells = lab.cells(lab.study(project, {"random": {"keep": 4}}, "none", task="mini_pope"))[:2]
    for cell, say in zip(cells, (made.yes, made.right), strict=True):
        made.finish(project, cell, say)
        score(cell, project.results)
    return cells


def test_the_difference_is_paired_over_every_metric(project: Project, two: list[Cell], capsys: Any) -> None:
    words = [
        "--root",
        str(project.root),
        "--results",
        str(project.results),
        "compare",
        two[0].id(),
        two[1].id(),
    ]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["difference"]["f1"]["value"] == pytest.approx(2 / 3 - 1)
    wrong = found["mcnemar"]["only_theirs"]
    assert found["mcnemar"]["only_ours"] == 0 and wrong == 3 * lab.IMAGES  # every "no"
    assert found["retention"]["value"] == pytest.approx(2 / 3)
    assert main(words) == 0
    text = capsys.readouterr().out
    assert f"{two[0].id()} minus {two[1].id()}" in text and f"McNemar, exact: 0 against {wrong}" in text


def test_a_cell_minus_itself_is_nothing(project: Project, two: list[Cell], capsys: Any) -> None:
    assert versus(project.results, two[0].id(), two[0].id(), as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(
        (d["value"], d["low"], d["high"], d["p"]) == (0, 0, 0, 1) for d in found["difference"].values()
    )
    assert found["retention"]["low"] == found["retention"]["high"] == 1 and found["warnings"] == []


def test_cells_of_two_kinds_of_hardware_are_compared_with_a_warning(
    project: Project, two: list[Cell], capsys: Any
) -> None:
    for cell, gpu in zip(two, ("A100", "H200"), strict=True):
        file = Files.of(project.results, cell).provenance
        write_json(file, {**read_json(file, ""), "hardware": gpu})
    versus(project.results, two[0].id(), two[1].id(), as_json=False)
    assert "warning: the cells mix GPUs (A100, H200)" in capsys.readouterr().out


def test_two_benchmarks_are_not_compared(project: Project, two: list[Cell]) -> None:
    other = lab.cells(lab.study(project, "none", task="mini_mme"))[0]
    made.finish(project, other, made.right)
    score(other, project.results)
    with pytest.raises(ResultError, match=r"two cells of one benchmark and scorer are needed, not mini_pope"):
        versus(project.results, two[0].id(), other.id(), as_json=False)
