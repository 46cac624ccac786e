"""What people type: ls, show, plan, accept; and the states that they are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from grid.project import Project
from prunegrid.grid.cell import Cell
from prunegrid.grid.errors import GridError
from prunegrid.run.files import Files, write_json
from prunegrid.run.main import main
from prunegrid.run.named import find

from . import lab, made

Row = dict[str, Any]


def run(project: Project, *words: str) -> int:
    return main(["--root", str(project.root), *words])


def listed(project: Project, capsys: pytest.CaptureFixture[str], cell: Cell) -> tuple[str, str]:
    """State and reason of a cell, as `ls --json` gives them."""
    capsys.readouterr()
    assert run(project, "ls", "mine", "--json") == 0
    row = next(r for r in json.loads(capsys.readouterr().out) if r["id"] == cell.id())
    return row["state"], row["why"]


def done(project: Project, cell: Cell) -> Files:
    """Through all stages, with answers made by hand and today's code."""
    files = made.finish(project, cell, made.yes)
    rows = json.loads((project.results / "plan" / "mine.json").read_text(encoding="utf-8"))["cells"]
    code = next(r["code"] for r in rows if r["id"] == cell.id())
    write_json(files.provenance, {**json.loads(files.provenance.read_text(encoding="utf-8")), "code": code})
    for stage in ("score", "cost"):
        assert run(project, stage, str(files.cell / "cell.yaml")) == 0
    return files


# ---- states ------------------------------------------------------------------------------------------------------
def test_a_cell_goes_from_missing_to_done(
    project: Project, cell: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    files = Files.of(project.results, cell)
    assert listed(project, capsys, cell) == ("missing", "")
    files.prediction.mkdir(parents=True)
    (files.prediction / "partial.jsonl").write_text('{"fingerprint": "x"}\n{}\n{}\n', encoding="utf-8")
    assert listed(project, capsys, cell) == ("missing", "2 questions answered so far")
    done(project, cell)
    assert listed(project, capsys, cell) == ("done", "")
    (files.cell / "cost.json").unlink()
    assert listed(project, capsys, cell) == ("missing", "scored, not costed")
    (files.cell / "score.json").unlink()
    assert listed(project, capsys, cell) == ("missing", "predicted, not scored")


def test_other_code_makes_a_cell_stale(
    project: Project, cell: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    files = done(project, cell)
    seen = json.loads(files.provenance.read_text(encoding="utf-8"))
    write_json(files.provenance, {**seen, "code": "0123456789ab"})
    assert listed(project, capsys, cell) == ("stale", f"code 0123456789ab is now {seen['code']}")


def test_other_options_make_the_place_in_the_table_stale(
    project: Project, cell: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    done(project, cell)
    file = project.root / "conf" / "model" / "tiny.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("{question}", "{question} :"), encoding="utf-8")
    new = lab.cells(lab.study(project, {"random": {"keep": 4}}, task="mini_pope"))[0]
    assert new.id() != cell.id()
    state, why = listed(project, capsys, new)
    assert state == "stale"
    assert cell.id() in why


@pytest.mark.parametrize("stage", ["predict", "score"])
def test_a_failure_is_shown_with_its_reason(
    stage: str, project: Project, cell: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    files = done(project, cell)
    folder = files.prediction if stage == "predict" else files.cell
    write_json(folder / "failed.json", {"stage": stage, "reason": "OSError: disk full"})
    assert listed(project, capsys, cell) == ("failed", f"{stage}: OSError: disk full")


def test_one_stage_does_not_clear_the_failure_of_another(project: Project, cell: Cell) -> None:
    files = made.finish(project, cell, made.yes)
    path, whole = files.records, files.records.read_text(encoding="utf-8")
    path.write_text(whole[:-30], encoding="utf-8")
    words = str(files.cell / "cell.yaml")
    assert run(project, "score", words) == 2
    path.write_text(whole, encoding="utf-8")
    assert run(project, "cost", words) == 0
    assert json.loads((files.cell / "failed.json").read_text(encoding="utf-8"))["stage"] == "score"
    assert run(project, "score", words) == 0
    assert not (files.cell / "failed.json").exists()


def test_the_list_counts_states(project: Project, cell: Cell, capsys: pytest.CaptureFixture[str]) -> None:
    done(project, cell)
    capsys.readouterr()
    assert run(project, "ls", "mine") == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) == 3  # the cell, full tokens and blind
    assert last == "1 done, 2 missing; 3 in all"
    assert [line.split()[0] for line in lines] == ["done", "missing", "missing"]
    assert sum("(compared with)" in line for line in lines) == 2


# ---- finding and showing -----------------------------------------------------------------------------------------
def test_the_beginning_of_an_id_is_enough_if_it_is_one_cells(project: Project, cell: Cell) -> None:
    assert find(project.results, cell.id()) == cell.id()
    assert find(project.results, "tiny-random") == cell.id()
    with pytest.raises(GridError, match="beginning of 3 cells") as caught:
        find(project.results, "tiny-")
    assert cell.id() in str(caught.value)


def test_a_whole_id_wins_over_a_longer_one(project: Project, cell: Cell) -> None:
    longer = project.results / "cells" / f"{cell.id()}x" / "cell.yaml"
    project.write(str(longer.relative_to(project.root)), {"id": "x"})
    assert find(project.results, cell.id()) == cell.id()


def test_an_unknown_cell_suggests_near_ones(project: Project, cell: Cell) -> None:
    for n in range(60):  # more than an error lists
        project.write(f"results/cells/aaa-{n:02d}/cell.yaml", {})
    with pytest.raises(GridError, match=r"unknown cell 'tiny-randon-mini_pope'.*Did you mean") as caught:
        find(project.results, "tiny-randon-mini_pope")
    assert cell.id() in str(caught.value).split("There are")[0]
    assert str(caught.value).endswith("There are 63")  # too many to list


def test_show_prints_configuration_scores_provenance_and_paths(
    project: Project, cell: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    files = done(project, cell)
    capsys.readouterr()
    assert run(project, "show", "tiny-random") == 0
    out = capsys.readouterr().out
    head = yaml.safe_load(out.split("\n# ")[0])
    assert Cell.from_dict(head) == cell
    for title, file in (
        ("score", files.cell / "score.json"),
        ("cost", files.cell / "cost.json"),
        ("provenance", files.provenance),
    ):
        assert f"# {title}: {file}" in out
    assert "f1: 0.6666" in out


# ---- plan, rerun, accept -----------------------------------------------------------------------------------------
def test_plan_prints_how_many_cells_and_predictions(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.study("mine", {"model": "tiny", "task": "mini_pope", "reducer": "none"})
    assert run(project, "plan", "mine") == 0
    assert capsys.readouterr().out.startswith("mine: 2 cells, 2 predictions;")
    assert run(project, "plan", "mine", "--limit", "6", "--json") == 0
    assert {r["cell"]["limit"] for r in json.loads(capsys.readouterr().out)} == {6}


def test_accept_blesses_todays_code(project: Project, cell: Cell, capsys: pytest.CaptureFixture[str]) -> None:
    files = done(project, cell)
    seen = json.loads(files.provenance.read_text(encoding="utf-8"))
    assert run(project, "accept", cell.id()) == 0
    assert not (project.root / "conf" / "accepted.yaml").exists()  # nothing to accept
    write_json(files.provenance, {**seen, "code": "0123456789ab"})
    assert listed(project, capsys, cell)[0] == "stale"
    assert run(project, "accept", cell.id()) == 0
    assert listed(project, capsys, cell) == ("done", "")
    known = yaml.safe_load((project.root / "conf" / "accepted.yaml").read_text(encoding="utf-8"))
    assert known == {seen["code"]: "0123456789ab"}


def test_a_results_folder_of_ones_own(project: Project, tmp_path: Path) -> None:
    project.study("mine", {"model": "tiny", "task": "mini_pope", "reducer": "none"})
    assert run(project, "--results", str(tmp_path / "mine"), "plan", "mine") == 0
    assert list((tmp_path / "mine" / "cells").glob("*/cell.yaml"))
    assert not (project.results / "cells").exists()
