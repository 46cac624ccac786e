"""`prunegrid studies`: which are listed, and that each is run once, also behind one that failed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grid.project import Project
from prunegrid.run import studies
from prunegrid.run.main import main

BIG = {"model": "llava15_7b", "task": "pope", "reducer": ["none", "prumerge"]}
SMALL = {"model": "mini", "task": "mini_pope", "reducer": ["none"]}


@pytest.fixture
def several(project: Project) -> Project:
    for left in (project.root / "conf" / "study").glob("*.yaml"):  # by tests before
        left.unlink()
    project.study("big", BIG)
    project.study("big_alone", BIG, mini=False)
    project.study("mixed", BIG, SMALL)
    project.study("small", SMALL)
    project.study("unnamed", {"task": "mini_pope", "reducer": ["none"]})  # the default model is mini
    project.write("conf/study/film.yaml", {"title": "Films", "unsupported": "no films here"})
    return project


def listed(project: Project, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["--root", str(project.root), "studies", *words]) == 0
    return [line.split()[0] for line in capsys.readouterr().out.splitlines()]


def test_studies_are_listed_with_their_twins(several: Project, capsys: pytest.CaptureFixture[str]) -> None:
    every = ["big", "mini_big", "big_alone", "film", "mixed", "mini_mixed", "small", "unnamed"]
    assert listed(several, capsys) == every
    assert listed(several, capsys, "--mini") == ["mini_big", "mini_mixed", "small", "unnamed"]
    assert listed(several, capsys, "mini_*", "small") == ["mini_big", "mini_mixed", "small"]
    assert listed(several, capsys, "--mini", "--without", "mini_*", "small") == ["unnamed"]


@pytest.mark.parametrize("words", [["smal"], ["--without", "smal"]])
def test_a_name_that_fits_nothing_is_an_error(
    words: list[str], several: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(several.root), "studies", *words]) == 2
    assert "'smal'" in capsys.readouterr().err


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands instead of runs; that of the study `big_alone` fails."""
    made: list[list[str]] = []

    def ended(command: list[str]) -> int:
        made.append(command)
        return int("study=big_alone" in command)

    monkeypatch.setattr(studies, "_ended", ended)
    return made


def test_each_is_run_by_the_profile_with_the_limit(several: Project, runs: list[list[str]]) -> None:
    words = ["studies", "--mini", "--run", "slurm", "--limit", "24"]
    assert main(["--root", str(several.root), *words]) == 0
    assert [command[-3:] for command in runs] == [
        ["--config", f"study={name}", "limit=24"] for name in ("mini_big", "mini_mixed", "small", "unnamed")
    ]
    assert all(command[command.index("--profile") + 1] == "slurm" for command in runs)


def test_further_settings_are_handed_on(several: Project, runs: list[list[str]]) -> None:
    words = [
        "studies",
        "small",
        "--run",
        "slurm",
        "--limit",
        "8",
        "--config",
        "judge=here",
        "mlflow=http://box:5000",
    ]
    assert main(["--root", str(several.root), *words]) == 0
    assert runs[0][-5:] == ["--config", "study=small", "limit=8", "judge=here", "mlflow=http://box:5000"]


def test_one_that_fails_stops_no_other_and_is_named(
    several: Project, runs: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(several.root), "studies", "big*", "film", "small", "--run", "slurm"]) == 1
    assert [command[-1] for command in runs] == ["study=big", "study=big_alone", "study=small"]
    said = capsys.readouterr().out
    assert "2 of 3  big_alone: FAILED (1)" in said
    assert "2 of 3 studies done" in said
    assert said.splitlines()[-1] == "FAILED: big_alone"


SNAKEMAKE = """
import pathlib, signal, sys, time

def end(*_):
    time.sleep(0.5)
    pathlib.Path("ended").touch()
    sys.exit(1)

signal.signal(signal.SIGTERM, end)
pathlib.Path("began").touch()
time.sleep(60)
"""


@pytest.mark.parametrize("warm", [False, True])
def test_who_ends_it_ends_snakemake_and_waits_for_it(warm: bool, tmp_path: Path) -> None:
    (tmp_path / "ending.py").write_text(SNAKEMAKE, encoding="utf-8")
    own = "from prunegrid.run import studies; import sys; studies._ended([sys.executable, 'ending.py']); open('next', 'w')"
    words = ["-m", "prunegrid", "warm", sys.executable, "ending.py"] if warm else ["-c", own]
    with subprocess.Popen([sys.executable, *words], cwd=tmp_path) as process:
        ends = time.monotonic() + 60
        while not (tmp_path / "began").exists() and time.monotonic() < ends:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert (tmp_path / "ended").exists() and code == (1 if warm else 128 + signal.SIGTERM)
    assert not (tmp_path / "next").exists()
