"""Every way for a job to die, be delayed or be moved, on a real Slurm, in one run of Snakemake."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from snakemake_executor_plugin_submitit.states import FAILURES
from snakemake_executor_plugin_submitit.status import expand_ids

from .private_cluster import PrivateCluster
from .storm import FATES, SURVIVORS, break_loose
from .workflow import INTERVAL_S, Run, Workflow

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1500)]

# What the message of each failure must say (regular expressions); the head reads states as Slurm gives them.
REASONS = {
    "exits": ["exited with status 1", r"\| to-the-log", " on n"],
    "killed": ["SIGKILL", "memory ran out .mem_mb=100"],
    "full": ["No space left on device"],
    "big": ["SIGXFSZ"],
    "cancelled": ["CANCELLED", " on n"],
    "held": ["CANCELLED"],
    # Slurm's own word if the job was too slow to count for itself
    "late": ["time limit of 1 min reached 2 times, 1 allowed|TIMEOUT"],
    "deaf": ["TIMEOUT", "raise runtime"],
    "node": ["NODE_FAIL", " on n3", "run it again"],
}


@pytest.fixture(scope="module")
def storm(
    cluster: PrivateCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Workflow, Run]]:
    """The finished run."""
    yield break_loose(cluster, tmp_path_factory.mktemp("storm"))


def message(run: Run, name: str) -> str:
    """What Snakemake printed of a failed job."""
    reports = re.findall(rf"slurm job \S+ \({name}-\w+\) .*?For further", run.output, re.DOTALL)
    assert reports, run.output
    return str(reports[-1])


def rounds_until_reported(run: Run, name: str) -> int:
    """In how many polling rounds Slurm said that a job has failed, before it was reported."""
    job_id = re.findall(rf"is slurm job (\S+) \({name}-", run.output)[-1]
    failed = re.compile(rf"@@ {job_id}\|({'|'.join(FAILURES)})\b")
    rounds = 0
    for line in run.record:
        rounds += bool(failed.match(line))
        if f"slurm job {job_id} ({name}-" in line and "is slurm job" not in line and "wait for" not in line:
            return rounds
    raise AssertionError(f"{name} was never reported")


def test_the_run_fails_and_all_others_finish(storm: tuple[Workflow, Run]) -> None:
    work, run = storm
    run.check(1)
    assert {name for name in FATES if (work.folder / f"{name}.out").exists()} == set(SURVIVORS), run.output


@pytest.mark.parametrize("name", REASONS)
def test_a_failure_is_reported_in_two_rounds_with_its_true_reason(
    storm: tuple[Workflow, Run], cluster: PrivateCluster, name: str
) -> None:
    run = storm[1]
    text = message(run, name)
    words = [*REASONS[name], *(["by user 0"] if cluster.accounting and "CANCELLED" in REASONS[name] else [])]
    assert all(re.search(word, text) for word in words), text
    assert "SIGKILL" not in text or name == "killed"
    assert rounds_until_reported(run, name) <= 2


def test_a_time_limit_is_survived_by_saving_and_requeue(storm: tuple[Workflow, Run]) -> None:
    work, run = storm
    assert work.lines("trained.starts") == ["start"] * 2 and work.lines("trained.saved") == ["saved"]
    assert (work.folder / "trained.log.attempt1").read_text() == "attempt 0\n"
    assert (work.folder / "trained.log").read_text() == "attempt 1\n"
    logs = [path.read_text() for path in (work.folder / ".snakemake/submitit").rglob("*_log.out")]
    assert any("trained-" in log and "restart 0" in log and "restart 1" in log for log in logs)
    assert len(re.findall(r"is slurm job \S+ \(trained-", run.output)) == 1


def test_a_job_that_never_saves_starts_a_bounded_number_of_times(storm: tuple[Workflow, Run]) -> None:
    assert 1 <= len(storm[0].lines("late.up")) <= 2


def test_preemption_requeue_and_one_single_success(storm: tuple[Workflow, Run]) -> None:
    work, run = storm
    assert work.lines("preempted.starts") == ["start"] * 2
    assert len(re.findall(r"is slurm job \S+ \(preempted-", run.output)) == 1
    jobid = re.search(r"Job (\d+) is slurm job \S+ \(preempted-", run.output)
    assert jobid and len(re.findall(rf"Finished jobid: {jobid[1]} ", run.output)) == 1, run.output


def test_one_query_per_round_for_all_jobs(storm: tuple[Workflow, Run], cluster: PrivateCluster) -> None:
    run = storm[1]
    first, then = ("sacct", "squeue") if cluster.accounting else ("squeue", "scontrol -o show job")
    assert len(run.calls(first)) <= run.seconds / INTERVAL_S + 3
    # A database that lags behind lists a job late: who else is asked then, is asked for what it lacks alone.
    lacking = [asked for asked in answers(run, first) if missing(run, *asked)]
    assert len(run.calls(then)) <= len(lacking), f"{len(run.calls(first))} {first}"
    assert len(run.calls("scontrol -o show job")) <= len(run.calls("squeue"))
    assert len(run.calls("sacct")) == 1 or cluster.accounting  # without accounting it is asked once


def answers(run: Run, program: str) -> list[tuple[set[str], set[str]]]:
    """Of each call of a program: the ids that were asked for, without tasks, and all ids that it listed."""
    found: list[tuple[set[str], set[str]]] = []
    mine = False
    for line in run.record:
        if line.startswith("@@ ") and mine:
            found[-1][1].update(expand_ids(line[3:].split("|")[0]))
        elif line.startswith("@"):
            mine = line.startswith(f"@{program} ")
            if mine:
                found.append((set(line.split()[-1].split(",")), set()))
    return found


def missing(run: Run, asked: set[str], listed: set[str]) -> set[str]:
    """Jobs of the run that were asked for and not listed."""
    return {job for job in run.job_ids if job.split("_")[0] in asked} - listed
