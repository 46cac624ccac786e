"""`prunegrid rerun`: one cell again by the same DAG, Snakemake in place of whose run its command is kept."""

from __future__ import annotations

import subprocess

import pytest

from grid.project import Project
from prunegrid.grid.cell import Cell
from prunegrid.run import grid_commands

from .test_commands import done, run


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What rerun would run. It fails, unless it is for the profile slurm."""
    seen: list[list[str]] = []

    def fake(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        seen.append(command)
        return subprocess.CompletedProcess(command, 0 if "slurm" in command else 3)

    monkeypatch.setattr(grid_commands.subprocess, "run", fake)
    return seen


def test_rerun_forces_the_prediction_of_one_cell_and_says_old_and_new(
    project: Project, cell: Cell, commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    files = done(project, cell)
    before = files.records.read_bytes()
    assert run(project, "rerun", "tiny-random", "--profile", "slurm") == 0
    (command,) = commands
    assert command[command.index("--profile") + 1] == "slurm"
    assert command[command.index("--config") + 1] == "study=mine"
    assert (
        command[command.index("--forcerun") + 1] == f"results/predictions/{files.prediction_id}/records.jsonl"
    )
    assert f"{cell.id()}: f1 0.6667 -> f1 0.6667" in capsys.readouterr().out
    assert (files.prediction / "old" / "001" / "records.jsonl").read_bytes() == before
    assert run(project, "rerun", "tiny-random") == 3  # Snakemake's own answer
    said = capsys.readouterr().out
    assert f"{cell.id()}: NOT computed again" in said and "->" not in said
    assert str(files.prediction / "old" / "002") in said
    assert sorted(p.name for p in (files.prediction / "old").iterdir()) == ["001", "002"]


def test_rerun_plans_the_study_as_it_was_planned(
    project: Project, cell: Cell, commands: list[list[str]]
) -> None:
    trial = project.plan(choose={"limit": 6}).rows[0]
    run(project, "rerun", trial["id"])
    assert "limit=6" in commands[0]


def test_rerun_tells_snakemake_where_runs_are_kept_if_it_was_told(
    project: Project, cell: Cell, commands: list[list[str]]
) -> None:
    """Else the profile says it."""
    done(project, cell)
    for more in ([], ["--store", "http://host:5000"]):
        run(project, "rerun", cell.id(), "--profile", "slurm", *more)
    said = ["mlflow=http://host:5000" in command for command in commands]
    assert said == [False, True] and not any("mlflow=" in word for word in commands[0])


def test_rerun_of_a_cell_that_no_study_holds_says_what_to_do(
    project: Project, cell: Cell, commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    (project.results / "plan" / "mine.json").unlink()
    assert run(project, "rerun", cell.id()) == 2
    assert f"no planned study holds {cell.id()}; name one with --study" in capsys.readouterr().err
    assert commands == []
