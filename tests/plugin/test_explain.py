"""Messages about failed jobs."""

import pytest

from snakemake_executor_plugin_submitit.explain import describe, read_tail
from snakemake_executor_plugin_submitit.results import Outcome
from snakemake_executor_plugin_submitit.states import JobState, Verdict

from .fakes import make_submission


def message(tmp_path, state=None, verdict=Verdict.FAILED, outcome=None, host="", memory=None, log=""):
    job = make_submission(tmp_path)
    job.state = state
    if log:
        job.log.write_text(log)
    return describe(job, verdict, outcome, host, memory)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            JobState("OUT_OF_MEMORY", "", "0:125", "n3"),
            ["OUT_OF_MEMORY", "exit code 0:125", "on n3", "raise mem_mb"],
        ),
        (JobState("TIMEOUT", "TimeLimit", "0:15", "n1"), ["TIMEOUT", "reason: TimeLimit", "raise runtime"]),
        (JobState("NODE_FAIL", "NodeDown", "", "n2"), ["NODE_FAIL", "on n2", "run it again"]),
        (JobState("CANCELLED", "", "0:0", "n1", "1000"), ["CANCELLED by user 1000"]),
        (JobState("FAILED", "", "0:9", "n1"), ["exit code 0:9", "SIGKILL", "mem_mb=500"]),
        (JobState("FAILED", "", "137:0", "n1"), ["SIGKILL", "higher mem_mb"]),
        (JobState("PREEMPTED"), ["PREEMPTED", "does not requeue"]),
        (JobState("COMPLETED", "", "0:0"), ["left no result"]),
    ],
)
def test_the_schedulers_word(tmp_path, state, words):
    text = message(tmp_path, state, memory=500)
    assert all(word in text for word in [*words, "slurm job 7 (rule-k)", str(tmp_path / "7_0_log.out")])


def test_a_lost_job(tmp_path):
    assert "is lost" in message(tmp_path, JobState("RUNNING"), Verdict.LOST)


def test_a_failure_by_its_own_account(tmp_path):
    outcome = Outcome(False, {}, "Traceback\n  File\nx.JobFailed: rule-k exited with status 1 on n9")
    text = message(tmp_path, None, outcome=outcome, host="n9", log="first\nlast words\n")
    assert "failed on n9" in text and "error: JobFailed: rule-k exited" in text and "| last words" in text


def test_a_time_limit_by_the_jobs_own_account_says_what_to_raise(tmp_path):
    outcome = Outcome(False, {}, "Traceback\n  File\nx.TimeLimitReached: time limit of 1 min reached 1 times")
    text = message(tmp_path, JobState("FAILED", "", "1:0", "n1"), outcome=outcome)
    assert "raise runtime" in text and "--submitit-max-timeouts" in text


@pytest.mark.parametrize(
    ("log", "began"),
    [
        ("", False),
        ("slurm_script: line 21: srun: command not found\n", False),
        ("submitit INFO (2026-01-01) - Starting with JobEnvironment(...)\nbad\n", True),
        ("line\n" * 30, True),  # the beginning is not in the tail
    ],
)
def test_a_script_that_fails_before_the_command_points_at_the_setup(tmp_path, log, began):
    text = message(tmp_path, JobState("FAILED", "", "127:0", "n1"), log=log)
    assert ("--submitit-setup" not in text) == began
    assert "--submitit-setup" not in message(tmp_path, JobState("CANCELLED", "", "0:0"), log=log)


def test_out_of_memory_wins_over_the_jobs_own_account(tmp_path):
    outcome = Outcome(False, {}, "x.JobFailed: status 1")
    text = message(tmp_path, JobState("OUT_OF_MEMORY", "", "0:125", "n1"), outcome=outcome)
    assert "OUT_OF_MEMORY" in text and "status 1" in text


@pytest.mark.parametrize(
    "line",
    ["died with <Signals.SIGKILL: 9>.", "exit status 137", "bash: line 1: 12 Killed   python x", "signal 9"],
)
def test_a_killed_process_hints_at_memory(tmp_path, line):
    assert "memory ran out (mem_mb=100" in message(tmp_path, JobState("FAILED"), memory=100, log=line)
    assert "memory" not in message(tmp_path, JobState("FAILED"), memory=100, log="skill 9, 1379 items")


def test_no_log_is_said_so(tmp_path):
    assert "empty or missing" in message(tmp_path, JobState("FAILED"))


def test_the_tail_shows_the_program_and_not_submitit(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "submitit INFO (x) - Starting with Env\nold\n"
        "submitit ERROR (x) - Submitted job triggered an exception\n"
        "Traceback\nsubmitit INFO (x) - Starting with Env\n"
        + "".join(f"line {number}\n" for number in range(100))
        + " 10%\r 20%\r100%\n\nsubmitit ERROR (x) - Submitted job triggered an exception\nTraceback\n  File\n"
    )
    tail = read_tail(log, 3)
    assert tail == ["line 98", "line 99", "100%"]
    assert "old" in "".join(read_tail(log, 200))


def test_a_huge_log_is_read_from_its_end(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"x" * 1000000 + b"\n\xff end\n")
    assert read_tail(log, 1) == ["\ufffd end"]
