"""Stages forked from a process that has imported everything: the same bytes, signals and ends as processes of their own."""

from __future__ import annotations

import json
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
from prunegrid.warm import SOCKET
from report import synthetic

from . import lab
from .test_killed import ENOUGH, OPTION, SLOW, partial_rows

HOLD = f"import os, sys; print(os.environ[{SOCKET!r}], flush=True); sys.stdin.read()"
HERE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a command that runs beside a warm process, which knows a slow method."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "dawdling.py").write_text(SLOW, encoding="utf-8")
    cold = {name: value for name, value in os.environ.items() if name not in (SOCKET, "SLURM_JOB_ID")}
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
        yield {**cold, SOCKET: held.stdout.readline().strip()}


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
    for more in ({"SLURM_JOB_ID": "7"}, {SOCKET: str(tmp_path / "gone")}):
        job = start(project, slow, settings, **more)
        _, said = job.communicate(timeout=ENOUGH)
        assert job.returncode == 0 and "not forked" not in said


def test_edited_sources_are_not_forked() -> None:
    request: dict[str, Any] = {"module": "prunegrid", "identity": ["a", 2]}
    request["environment"] = {"OMP_NUM_THREADS": "1"}
    assert "sources" in warm_forks._refusal(request, ["a", 1], {})
    assert not warm_forks._refusal(request, ["a", 2], {})


def launched(
    settings: dict[str, str], words: list[str], cwd: Path, asked: str = ""
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "prunegrid.warm", *words]
    return subprocess.run(
        command, cwd=cwd, env=settings, input=asked, capture_output=True, text=True, timeout=ENOUGH, check=False
    )  # fmt: skip


def test_methods_answer_a_planner_in_a_fork(project: Project, settings: dict[str, str]) -> None:
    (made,) = lab.cells(lab.study(project, "prumerge", size=2))
    cell = made.to_dict()
    questions = [
        {"reducer": {**cell["reducer"], **more}, "tuned": False, "model": cell["model"]}
        for more in ({}, {"k": 0})
    ]
    run = launched(settings, ["prunegrid.run.fit"], project.root, json.dumps(questions))
    assert run.returncode == 0 and "not forked" not in run.stderr, run.stderr
    good, bad = json.loads(run.stdout)
    assert good is None and "k=0" in bad


def test_a_page_is_drawn_and_tracked_in_forks_as_in_processes_of_their_own(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    root = tmp_path / "results"
    synthetic.write_study(root)
    cold = {name: value for name, value in settings.items() if name != SOCKET}
    where = ["--results", str(root), "--study", "demo"]
    for name, under in (("alone", cold), ("forked", settings)):
        drawn = launched(
            under, ["prunegrid.report", "study", *where, "--out", str(tmp_path / name)], tmp_path
        )
        assert drawn.returncode == 0 and "not forked" not in drawn.stderr, drawn.stderr
    alone, forked = (
        {file.relative_to(tmp_path / name): file.read_bytes() for file in (tmp_path / name).rglob("*.*")}
        for name in ("alone", "forked")
    )
    assert alone == forked and Path("index.html") in alone
    store = ["--store", f"sqlite:///{tmp_path}/mlflow.db", "--page", str(tmp_path / "forked")]
    tracked = launched(settings, ["prunegrid.track", "study", *where, *store], tmp_path)
    assert tracked.returncode == 0 and "not forked" not in tracked.stderr, tracked.stderr
    assert "new run" in tracked.stdout and list(tmp_path.glob("mlartifacts/demo/**/report/index.html"))
    wrong = launched(settings, ["prunegrid.track", "cell", *where, *store[:2], "--cell", "none"], tmp_path)
    assert wrong.returncode == 1 and "error: " in wrong.stderr


RULE = """
rule one:
    output: "done.txt"
    shell: "{python} work.py {{output}}"
"""
WORK = """
import os, pathlib, signal, sys, time

def save(*_):
    pathlib.Path(sys.argv[1]).write_text("saved")
    sys.exit()

signal.signal(signal.SIGUSR2, save)
pathlib.Path("began.txt").write_text(os.environ["PRUNEGRID_WARM"])
while True:
    pathlib.Path("alive.txt").touch()
    time.sleep(0.05)
"""


def ignoring() -> None:
    """As the executor plugin starts a job: the shell and Snakemake are not to end of a signal to save."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGKILL])
def test_a_forked_snakemake_and_what_it_started_hear_of_a_signal(
    number: signal.Signals, tmp_path: Path, settings: dict[str, str]
) -> None:
    (tmp_path / "Snakefile").write_text(RULE.format(python=sys.executable), encoding="utf-8")
    (tmp_path / "work.py").write_text(WORK, encoding="utf-8")
    command = [sys.executable, "-m", "prunegrid.warm", "-m", "snakemake", "--cores", "1", "done.txt"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=settings, stderr=subprocess.PIPE, text=True, preexec_fn=ignoring
    ) as job:
        ends = time.monotonic() + ENOUGH
        while not (tmp_path / "began.txt").exists() and time.monotonic() < ends:
            time.sleep(0.05)
        job.send_signal(number)
        _, said = job.communicate(timeout=ENOUGH)
    assert "not forked" not in said
    if number == signal.SIGUSR2:
        assert job.returncode == 0 and (tmp_path / "done.txt").read_text() == "saved", said
    else:
        time.sleep(0.5)
        (tmp_path / "alive.txt").unlink()
        time.sleep(0.5)
        assert job.returncode == -number and not (tmp_path / "alive.txt").exists()


def test_without_a_warm_process_a_module_runs_here(tmp_path: Path, settings: dict[str, str]) -> None:
    cold = {name: value for name, value in settings.items() if name != SOCKET}
    run = launched(cold, ["prunegrid.report", "text", "--study", "x"], tmp_path)
    assert run.returncode == 1 and run.stderr.startswith("error: ")
    assert launched(cold, [], tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("code", "status"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_the_command_decides_the_status(code: str, status: int) -> None:
    command = [sys.executable, "-m", "prunegrid", "warm", "--", sys.executable, "-c", code]
    assert subprocess.run(command, check=False, timeout=ENOUGH).returncode == status


def test_a_command_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["warm"]) == 2 and "no command" in capsys.readouterr().err
    assert main(["warm", "snakemaek"]) == 2 and "'snakemaek'" in capsys.readouterr().err
