"""The callable that runs on the node: results, failures, logs and what its pickle holds."""

import pickle
import signal

import cloudpickle
import pytest

from snakemake_executor_plugin_submitit import claims
from snakemake_executor_plugin_submitit.attempts import free_name, keep_earlier_logs
from snakemake_executor_plugin_submitit.command import JobFailed, SnakemakeCommand


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
