"""The callable that runs on the node, when signals come: time limit, preemption, interruption."""

import os
import signal
import sys
import time

from snakemake_executor_plugin_submitit.child import session_members

from .node import REQUEUE


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
