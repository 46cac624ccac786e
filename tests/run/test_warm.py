"""Stages forked from a process that has imported everything: the same bytes, signals and ends as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grid.project import Project
from prunegrid.run import warm_forks
from prunegrid.run.files import Files
from prunegrid.run.main import main
from prunegrid.run.stages import WARM

from . import lab
from .test_killed import ENOUGH, OPTION, SLOW, partial_rows

HOLD = f"import os, sys; print(os.environ[{WARM!r}], flush=True); sys.stdin.read()"
HERE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a command that runs beside a warm process, which knows a slow method."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "dawdling.py").write_text(SLOW, encoding="utf-8")
    cold = {name: value for name, value in os.environ.items() if name not in (WARM, "SLURM_JOB_ID")}
    cold |= {
        "PYTHONPATH": os.pathsep.join((str(folder), str(HERE / "src"), cold.get("PYTHONPATH", ""))),
        "PRUNEGRID_PACKAGES": "dawdling",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "prunegrid", "warm", sys.executable, "-c", HOLD]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=cold, stdin=pipe, stdout=pipe, text=True) as held:
        assert held.stdout is not None
        yield {**cold, WARM: held.stdout.readline().strip()}


@pytest.fixture
def slow(project: Project, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> Files:
    project.write("conf/reducer/slow.yaml", OPTION)
    monkeypatch.setenv("PRUNEGRID_PACKAGES", "dawdling")
    monkeypatch.syspath_prepend(settings["PYTHONPATH"].split(os.pathsep)[0])
    (cell,) = lab.cells(lab.study(project, "slow", size=2))
    return Files.of(project.results, cell)


def start(project: Project, files: Files, settings: dict[str, str], **more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "prunegrid", "predict", str(files.cell / "cell.yaml"), "--device", "cpu"]
    return subprocess.Popen(command, cwd=project.root, env=settings | more, stderr=subprocess.PIPE, text=True)


def answering(files: Files, job: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + ENOUGH
    while partial_rows(files) < 2 and job.poll() is None and time.monotonic() < ends:
        time.sleep(0.02)
    assert partial_rows(files) and job.poll() is None


def test_a_fork_answers_with_the_bytes_of_a_process_of_its_own(
    project: Project, slow: Files, settings: dict[str, str], tmp_path: Path
) -> None:
    alone = ["--root", str(project.root), "--results", str(tmp_path / "alone")]
    assert main([*alone, "predict", str(slow.cell / "cell.yaml"), "--device", "cpu"]) == 0
    job = start(project, slow, settings)
    _, said = job.communicate(timeout=ENOUGH)
    assert job.returncode == 0 and "not forked" not in said and "q/s" in said, said
    for file in ("records.jsonl", "trace.jsonl"):
        own = tmp_path / "alone" / "predictions" / slow.prediction.name / file
        assert (slow.prediction / file).read_bytes() == own.read_bytes()


def test_a_failure_is_said_and_has_its_status(
    project: Project, slow: Files, settings: dict[str, str]
) -> None:
    (project.root / lab.WEIGHTS / "llava" / "model.safetensors").write_bytes(b"no weights")
    job = start(project, slow, settings)
    _, said = job.communicate(timeout=ENOUGH)
    assert job.returncode == 2 and "prunegrid: " in said and "not forked" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_who_ends_the_command_ends_its_fork(
    number: signal.Signals, project: Project, slow: Files, settings: dict[str, str]
) -> None:
    job = start(project, slow, settings, SLEEP="0.5")
    answering(slow, job)
    job.send_signal(number)
    job.communicate(timeout=ENOUGH)
    assert job.returncode == -number
    time.sleep(1.2)  # longer than a batch takes: a fork that lived would have answered one more
    left = partial_rows(slow)
    time.sleep(1.2)
    assert partial_rows(slow) == left and not slow.records.exists()


@pytest.mark.parametrize(
    "more", [{"HF_HOME": "/elsewhere"}, {"OMP_NUM_THREADS": ""}, {"PRUNEGRID_PACKAGES": "dawdling,os"}]
)
def test_what_was_imported_under_other_settings_is_not_forked(
    more: dict[str, str], project: Project, slow: Files, settings: dict[str, str]
) -> None:
    job = start(project, slow, settings, **more)
    _, said = job.communicate(timeout=ENOUGH)
    assert job.returncode == 0 and f"not forked: {next(iter(more))}" in said


def test_a_slurm_job_and_a_socket_that_is_gone_run_alone(
    slow: Files, project: Project, settings: dict[str, str], tmp_path: Path
) -> None:
    for more in ({"SLURM_JOB_ID": "7"}, {WARM: str(tmp_path / "gone")}):
        job = start(project, slow, settings, **more)
        _, said = job.communicate(timeout=ENOUGH)
        assert job.returncode == 0 and "not forked" not in said


def test_edited_sources_are_not_forked() -> None:
    request: dict[str, Any] = {"identity": ["a", 2], "environment": {"OMP_NUM_THREADS": "1"}}
    assert "sources" in warm_forks._refusal(request, ["a", 1], {})
    assert not warm_forks._refusal(request, ["a", 2], {})


@pytest.mark.parametrize(
    ("code", "status"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_the_command_decides_the_status(code: str, status: int) -> None:
    command = [sys.executable, "-m", "prunegrid", "warm", "--", sys.executable, "-c", code]
    assert subprocess.run(command, check=False, timeout=ENOUGH).returncode == status


def test_a_command_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["warm"]) == 2 and "no command" in capsys.readouterr().err
    assert main(["warm", "snakemaek"]) == 2 and "'snakemaek'" in capsys.readouterr().err
