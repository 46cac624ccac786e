"""The callable that runs on the node, in real processes started as submitit starts them."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from submitit.core.utils import DelayedSubmission

from snakemake_executor_plugin_submitit import claims
from snakemake_executor_plugin_submitit.attempts import free_name, keep_earlier_logs
from snakemake_executor_plugin_submitit.child import session_members
from snakemake_executor_plugin_submitit.command import JobFailed, SnakemakeCommand
from snakemake_executor_plugin_submitit.results import read_outcome, result_path, submitted_path

REQUEUE = 144  # exit status by which submitit's local twin asks to be started again

# A program that saves its work on SIGUSR2 and resumes from it.
TRAINER = """
import os, signal, sys, time
def save(number, frame):
    open("saved", "a").write("x")
    sys.exit({status})
signal.signal(signal.SIGUSR2, save)
open("started", "a").write(os.environ["SNAKEMAKE_SUBMITIT_RESTARTS"])
if os.path.exists("saved"):
    sys.exit(0)
time.sleep(60)
"""


class Node:
    """Runs a command as job 77 the way submitit does, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def command(self, text: str, **more: Any) -> SnakemakeCommand:
        values = {"label": "rule-x", "token": "mine", "claim": str(self.folder / "claim.json"), **more}
        return SnakemakeCommand(text, str(self.folder), **values)

    def trainer(self, status: int = 3) -> str:
        (self.folder / "trainer.py").write_text(TRAINER.format(status=status))
        return f"{sys.executable} trainer.py; status=$?; echo end; exit $status"

    def submit(self, command: SnakemakeCommand) -> None:
        delayed = DelayedSubmission(command)
        delayed.set_timeout(60, 1_000_000)
        delayed.dump(submitted_path(self.folder, "77"))

    def start(self, **env: str) -> "subprocess.Popen[bytes]":
        local = {
            "JOB_ID": "77",
            "NTASKS": "1",
            "JOB_NUM_NODES": "1",
            "NODEID": "0",
            "GLOBALID": "0",
            "LOCALID": "0",
        }
        job = {
            "SUBMITIT_EXECUTOR": "local",
            **{f"SUBMITIT_LOCAL_{name}": value for name, value in local.items()},
        }
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-u", "-m", "submitit.core._submit", str(self.folder)],
                env={**os.environ, **job, **env},
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def wait_for(self, name: str, text: str, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            path = self.folder / name
            if path.exists() and text in path.read_text():
                return
            time.sleep(0.05)
        log = (self.folder / "log").read_text()
        raise AssertionError(f"{name} never contained {text!r}; log:\n{log}")

    def outcome(self):
        return read_outcome(result_path(self.folder, "77"), "mine", 0.0)

    def session(self) -> int:
        claim = claims.read_claim(self.folder / "claim.json")
        return claim.session if claim else 0


@pytest.fixture
def node(tmp_path):
    node = Node(tmp_path)
    yield node
    for process in node.processes:
        process.kill()
        process.wait(5)
    for pid in session_members(node.session()) if node.session() else []:
        os.kill(pid, signal.SIGKILL)


def test_a_success_returns_facts(node):
    node.submit(node.command("echo hello; echo $COLOUR", env={"COLOUR": "green"}))
    assert node.start().wait(60) == 0
    found = node.outcome()
    assert found is not None and found.ok
    assert found.facts["job_id"] == "77" and found.facts["restarts"] == 0 and found.facts["host"]
    assert "hello\ngreen\n" in (node.folder / "log").read_text()


def test_output_reaches_the_log_while_the_job_runs(node):
    node.submit(node.command("echo early; sleep 30"))
    node.start()
    node.wait_for("log", "early")


@pytest.mark.parametrize(("text", "words"), [("exit 3", "exited with status 3"), ("kill -9 $$", "signal 9")])
def test_a_failure_names_status_host_and_submission(node, text, words):
    node.submit(node.command(text))
    assert node.start().wait(60) != 0
    found = node.outcome()
    assert found is not None and not found.ok
    assert words in found.summary and "(submission mine)" in found.summary and "rule-x" in found.summary


def test_a_failed_gpu_job_says_what_it_could_see(node):
    node.submit(node.command("exit 3", gpus=1, env={"CUDA_VISIBLE_DEVICES": "5"}))
    node.start().wait(60)
    assert "CUDA_VISIBLE_DEVICES=5, nvidia-smi" in node.outcome().summary


def test_a_void_submission_does_not_compute(node):
    claims.void(node.folder / "claim.json")
    node.submit(node.command("touch computed"))
    node.start().wait(60)
    assert not (node.folder / "computed").exists()
    assert "voided" in (node.folder / "log").read_text()


def test_preemption_saves_requeues_and_resumes(node):
    node.submit(node.command(node.trainer(), limit_s=36000, max_timeouts=0))
    first = node.start()
    node.wait_for("started", "0")
    first.send_signal(signal.SIGUSR2)
    assert first.wait(60) == REQUEUE
    assert node.outcome() is None  # no result: the job is not over
    assert node.start().wait(60) == 0
    found = node.outcome()
    assert found is not None and found.ok and found.facts["restarts"] == 1 and found.facts["timeouts"] == 0
    assert (node.folder / "saved").read_text() == "x" and (node.folder / "started").read_text() == "01"


def test_time_outs_are_counted_and_bounded(node):
    (node.folder / "never").write_text("")
    text = f'{sys.executable} -c \'import time; open("up", "a").write("u"); time.sleep(60)\''
    node.submit(node.command(text, limit_s=60, signal_delay_s=3, max_timeouts=1))
    for attempt in (1, 2):
        process = node.start()
        node.wait_for("up", "u" * attempt)
        process.send_signal(signal.SIGUSR2)
        status = process.wait(60)
        assert (status == REQUEUE) == (attempt == 1)
    found = node.outcome()
    assert found is not None and "reached 2 times, 1 allowed" in found.summary


def test_a_command_that_finishes_on_the_signal_is_not_requeued(node):
    node.submit(node.command(node.trainer(status=0), limit_s=36000))
    process = node.start()
    node.wait_for("started", "0")
    process.send_signal(signal.SIGUSR2)
    assert process.wait(60) == 0
    found = node.outcome()
    assert found is not None and found.ok


def test_a_signal_to_the_whole_tree_does_not_kill_shell_and_snakemake(node):
    # as Slurm's proctrack/linuxproc sends it
    node.submit(
        node.command(f"sh -c 'sleep 1; {node.trainer(status=0)}'; echo shell-survived", limit_s=36000)
    )
    process = node.start()
    node.wait_for("started", "0")
    for pid in session_members(node.session()):
        os.kill(pid, signal.SIGUSR2)
    assert process.wait(60) == 0
    assert "shell-survived" in (node.folder / "log").read_text()


def test_an_interrupt_leaves_no_process_behind(node):
    node.submit(node.command("sh -c 'trap \"\" TERM INT; echo up > up; sleep 60 & sleep 60' & wait"))
    process = node.start()
    node.wait_for("up", "up")
    session = node.session()
    assert len(session_members(session)) >= 3
    process.send_signal(signal.SIGINT)
    process.wait(60)
    assert session_members(session) == []


def test_sigterm_ends_a_local_job(node):
    node.submit(node.command("echo up > up; sleep 60"))
    process = node.start()
    node.wait_for("up", "up")
    session = node.session()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    assert session_members(session) == []


def test_sigterm_from_slurm_leaves_the_verdict_to_slurm(node):
    slurm = {"SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": "77", "SLURM_RESTART_COUNT": "2"}
    node.submit(node.command(node.trainer(status=3), limit_s=36000))
    process = node.start(**slurm)
    node.wait_for("started", "2")  # Slurm's own count of restarts
    process.send_signal(signal.SIGTERM)
    node.wait_for("log", "waiting for Slurm")
    assert (node.folder / "saved").exists()
    time.sleep(0.5)
    assert process.poll() is None and node.outcome() is None


def test_logs_of_earlier_attempts_are_kept_but_old_logs_are_not(node):
    log = node.folder / "x.log"
    text = f"if [ -e {log} ]; then echo leftover; fi; rm -f {log}; echo new > {log}"
    log.write_text("of a former, finished run")
    node.submit(node.command(text, logs=(str(log),)))
    node.start().wait(60)
    assert not (node.folder / "x.log.attempt1").exists()
    node.submit(node.command(text, logs=(str(log),), restarts=1))
    node.start().wait(60)
    assert (node.folder / "x.log.attempt1").read_text() == "new\n"
    node.submit(node.command(text, logs=(str(log),), attempt=2))
    node.start().wait(60)
    assert (node.folder / "x.log.attempt2").exists()
    assert (node.folder / "log").read_text().count("leftover") == 1


def test_missing_and_empty_logs_are_left_alone(tmp_path):
    (tmp_path / "empty.log").write_text("")
    assert keep_earlier_logs(str(tmp_path), ["empty.log", "missing.log"]) == []
    (tmp_path / "full.log").write_text("x")
    assert free_name(tmp_path / "full.log").name == "full.log.attempt1"


def test_the_pickle_is_by_reference_and_without_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("API_TOKEN", "hunter2")
    command = SnakemakeCommand("true", str(tmp_path), "x", "t", str(tmp_path / "c"))
    data = cloudpickle.dumps(command)
    assert b"hunter2" not in data and len(data) < 2000
    again = pickle.loads(data)
    assert again == command and again.restarts == 0


def test_called_directly_it_raises(tmp_path):
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)}
    try:
        with pytest.raises(JobFailed, match="status 4"):
            SnakemakeCommand("exit 4", str(tmp_path), "x", "t", str(tmp_path / "c"))()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
