"""Words of the command line that mean nothing: one line that says what is allowed, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grid.project import ROOT, Project
from prunegrid.grid.cell import Cell
from prunegrid.run import weights
from prunegrid.run.doctor import examine
from prunegrid.run.errors import BuildError
from prunegrid.run.files import Files, ResultError
from prunegrid.run.main import main

from . import lab


@pytest.fixture
def cell(project: Project) -> Cell:
    return lab.cells(lab.study(project, "none", task="mini_pope"))[0]


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "prunegrid", "--root", str(ROOT), "studies"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "words",
    [
        ["doctor", "CELL", "--samples", "0"],
        ["doctor", "CELL", "--samples", "-3"],
        ["latency", "CELL", "--repeats", "0"],
        ["latency", "CELL", "--warmup", "-1"],
        ["latency", "CELL", "--batch-sizes", "1,,8"],
        ["score-file", "pope", "x.jsonl", "--replicates", "0"],
        ["score-file", "pope", "x.jsonl", "--seed", "-1"],
    ],
    ids=" ".join,
)
def test_a_number_that_cannot_be(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {words[-2]}: {words[-1]!r}: write " in said
    assert said.endswith((" on", "such as 1,8"))


@pytest.mark.parametrize("device", ["foo", "cuda:x", "cpu:1", "CUDA", ""])
def test_a_device_that_does_not_exist(device: str, cell: Cell) -> None:
    with pytest.raises(BuildError, match=r"is no device; there are: auto, cpu, cuda, cuda:N"):
        weights.device_of(cell, device)


def test_a_gpu_that_this_machine_has_not(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert weights.device_of(cell, "cuda:1") == "cuda:1"
    with pytest.raises(BuildError, match="cuda:7: this machine has no such GPU; there are: cuda:0 to cuda:1"):
        weights.device_of(cell, "cuda:7")


def test_latency_names_the_device(project: Project, cell: Cell, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(project.root), "latency", cell.id(), "--device", "foo"]) == 2
    assert "--device foo is no device" in capsys.readouterr().err


def test_compare_with_nothing_says_what_is_missing(
    project: Project, cell: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = lab.study(project, {"random": {"keep": 4}}, task="mini_pope")
    row: dict[str, Any] = plan.rows[0]
    capsys.readouterr()
    assert main(["--root", str(project.root), "compare", "tiny-random"]) == 2
    said = capsys.readouterr().err
    assert f"`prunegrid compare {row['id']} CELL`" in said
    assert f"its full-token twin is {row['baseline']}" in said
    assert not (Files.of(project.results, cell).cell / "failed.json").exists()


@pytest.mark.parametrize("stage", ["predict", "score", "cost", "tune", "compare"])
def test_a_stage_takes_an_id_and_knows_near_ones(
    stage: str, project: Project, cell: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(project.root), stage, cell.id().replace("none", "nine")]) == 2
    said = capsys.readouterr().err
    assert "unknown cell" in said and f"Did you mean '{cell.id()}'" in said


def test_folders_that_are_none(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    file = project.root / "data.dvc"
    assert main(["--root", str(file), "ls"]) == 2
    assert f"--root {file} is no folder" in capsys.readouterr().err
    assert main(["--root", str(project.root), "--results", str(file), "ls"]) == 2
    assert f"--results {file} is a file" in capsys.readouterr().err


def test_a_broken_cell_file_is_named(
    project: Project, cell: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Files.of(project.results, cell).cell / "cell.yaml"
    file.write_text("model: [", encoding="utf-8")
    for command in ("show", "rerun"):
        assert main(["--root", str(project.root), command, cell.id()]) == 2
        said = capsys.readouterr().err
        assert str(file) in said and "Traceback" not in said


def test_accept_of_a_cell_that_was_replaced(
    project: Project, cell: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = (project.results / "plan" / "mine.json").read_text(encoding="utf-8")
    lab.study(project, "blind", task="mini_vqa")
    project.write("results/plan/mine.json", plan)
    assert main(["--root", str(project.root), "accept", cell.id()]) == 2
    assert f"{cell.id()} is no cell of mine any more" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[]", '{"q": 3}', '{"q": {"nose": 1}}'])
def test_gates_that_are_none(text: str, project: Project, cell: Cell, tmp_path: Path) -> None:
    file = tmp_path / "gates.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ResultError, match=r"holds no gates.*--write"):
        examine(cell, project.results, project.root, 1, "cpu", file)
