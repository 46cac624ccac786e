"""What becomes of jobs that a killed head left behind."""

import os

import pytest

from snakemake_executor_plugin_submitit import claims
from snakemake_executor_plugin_submitit.adopt import Adopter
from snakemake_executor_plugin_submitit.claims import VOID, Claim, read_claim
from snakemake_executor_plugin_submitit.ledger import Ledger
from snakemake_executor_plugin_submitit.states import UNCLEAR, JobState

from .fakes import FakeCluster, make_entry, make_task, write_result

NOW = 5000.0


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path)


def sort(ledger, cluster, *tasks, now=NOW, reattach=True, since=0.0):
    lines: list[str] = []
    return Adopter(ledger, cluster, 60.0, reattach, since).sort(tasks, now, lines.append), lines


def kinds(found):
    return len(found.fresh), len(found.adopted), len(found.waiting), len(found.blocked)


FRESH, ADOPTED, WAITING, BLOCKED = (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)


def test_without_an_entry_nobody_is_asked(ledger):
    cluster = FakeCluster()
    assert kinds(sort(ledger, cluster, make_task())[0]) == FRESH
    assert cluster.queries == 0


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED"])
def test_a_living_job_with_the_same_work_is_adopted(ledger, tmp_path, state):
    ledger.write(make_entry(tmp_path))
    cluster = FakeCluster()
    cluster.known["7"] = JobState(state)
    found, lines = sort(ledger, cluster, make_task())
    assert kinds(found) == ADOPTED
    assert found.adopted[0].entry == make_entry(tmp_path)
    assert "7" in lines[0] and cluster.cancelled == []


def test_many_entries_cost_one_query(ledger, tmp_path):
    cluster = FakeCluster()
    for number in range(20):
        ledger.write(make_entry(tmp_path, f"k{number}", job_id=str(number)))
        cluster.known[str(number)] = JobState("RUNNING")
    found, _ = sort(ledger, cluster, *[make_task(f"k{number}") for number in range(20)])
    assert len(found.adopted) == 20 and cluster.queries == 1


@pytest.mark.parametrize("reattach", [True, False])
def test_a_living_job_with_other_work_is_ended_first(ledger, tmp_path, reattach):
    ledger.write(make_entry(tmp_path, work="w" if not reattach else "old"))
    claims.take(ledger.claim("token-k"), Claim("7", session=0))
    cluster = FakeCluster()
    cluster.known["7"] = JobState("RUNNING")
    found, _ = sort(ledger, cluster, make_task(), reattach=reattach)
    assert kinds(found) == WAITING and cluster.cancelled == ["7"]
    assert read_claim(ledger.claim("token-k")).job_id == VOID  # should it be requeued, it will not compute
    cluster.known["7"] = JobState("CANCELLED")
    assert kinds(sort(ledger, cluster, make_task(), reattach=reattach)[0]) == FRESH


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED", "NODE_FAIL", "COMPLETED", "PREEMPTED"])
def test_a_dead_job_is_replaced_and_can_never_start_again(ledger, tmp_path, state):
    ledger.write(make_entry(tmp_path))
    claims.start_work(ledger.claim("token-k"), "7")
    cluster = FakeCluster()
    cluster.known["7"] = JobState(state)
    assert kinds(sort(ledger, cluster, make_task())[0]) == FRESH
    with pytest.raises(claims.Superseded):
        claims.start_work(ledger.claim("token-k"), "7")


def test_an_unknown_job_is_replaced_once_it_had_time_to_show_up(ledger, tmp_path):
    ledger.write(make_entry(tmp_path, submitted=NOW - 30))
    assert kinds(sort(ledger, FakeCluster(), make_task())[0]) == WAITING
    assert kinds(sort(ledger, FakeCluster(), make_task(), now=NOW + 60)[0]) == FRESH


def test_nothing_is_decided_while_the_scheduler_is_silent(ledger, tmp_path):
    ledger.write(make_entry(tmp_path))
    cluster = FakeCluster()
    cluster.known["7"] = JobState(UNCLEAR)
    assert kinds(sort(ledger, cluster, make_task())[0]) == WAITING
    assert read_claim(ledger.claim("token-k")) is None


def test_a_finished_job_is_adopted_if_its_outputs_are_there(ledger, tmp_path):
    output = tmp_path / "out"
    output.write_text("x")
    ledger.write(make_entry(tmp_path))
    write_result(tmp_path, "7", "success", {"token": "token-k"})
    task = make_task(outputs=(str(output),))
    assert kinds(sort(ledger, FakeCluster(), task)[0]) == ADOPTED
    os.utime(output, (500, 500))  # older than the submission: not its work
    assert kinds(sort(ledger, FakeCluster(), task)[0]) == FRESH
    output.unlink()
    assert kinds(sort(ledger, FakeCluster(), task)[0]) == FRESH


def test_what_was_finished_before_this_head_began_and_is_asked_for_again_is_computed_again(ledger, tmp_path):
    output = tmp_path / "out"
    output.write_text("x")
    ledger.write(make_entry(tmp_path))
    written = write_result(tmp_path, "7", "success", {"token": "token-k"}).stat().st_mtime
    task = make_task(outputs=(str(output),))
    assert (
        kinds(sort(ledger, FakeCluster(), task, since=written + 30)[0]) == ADOPTED
    )  # clocks differ a little
    assert kinds(sort(ledger, FakeCluster(), task, since=written + 90)[0]) == FRESH
    assert read_claim(ledger.claim("token-k")).job_id == VOID


def test_a_finished_job_is_not_adopted_for_other_work_nor_after_failure(ledger, tmp_path):
    ledger.write(make_entry(tmp_path))
    write_result(tmp_path, "7", "success", {"token": "token-k"})
    assert kinds(sort(ledger, FakeCluster(), make_task(work="new"))[0]) == FRESH
    write_result(tmp_path, "7", "error", "JobFailed (submission token-k)")
    assert kinds(sort(ledger, FakeCluster(), make_task())[0]) == FRESH


def test_a_stale_result_of_the_same_id_is_not_adopted(ledger, tmp_path):
    ledger.write(make_entry(tmp_path))
    write_result(tmp_path, "7", "success", {"token": "someone-else"})
    cluster = FakeCluster()
    cluster.known["7"] = JobState("RUNNING")
    found, _ = sort(ledger, cluster, make_task())
    assert kinds(found) == ADOPTED and cluster.queries == 1
    cluster.known.clear()
    assert kinds(sort(ledger, cluster, make_task())[0]) == FRESH


def test_head_killed_before_it_knew_the_id(ledger, tmp_path):
    ledger.write(make_entry(tmp_path, job_id=""))
    cluster = FakeCluster()
    assert kinds(sort(ledger, cluster, make_task())[0]) == FRESH
    assert cluster.withdrawn == ["token"]
    with pytest.raises(claims.Superseded):  # the job that may still be queued
        claims.start_work(ledger.claim("token-k"), "9")


def test_head_killed_before_it_knew_the_id_of_a_job_that_runs(ledger, tmp_path):
    ledger.write(make_entry(tmp_path, job_id=""))
    claims.start_work(ledger.claim("token-k"), "9_3")
    cluster = FakeCluster()
    cluster.known["9_3"] = JobState("RUNNING")
    found, _ = sort(ledger, cluster, make_task())
    assert kinds(found) == ADOPTED and found.adopted[0].entry.job_id == "9_3"
    assert cluster.withdrawn == []


def test_jobs_of_another_cluster_or_machine_block_until_they_left_a_result(ledger, tmp_path):
    ledger.write(make_entry(tmp_path, cluster="local", host="elsewhere"))
    found, _ = sort(ledger, FakeCluster(), make_task())
    assert kinds(found) == BLOCKED
    assert str(ledger.path("k")) in found.blocked[0][1] and "elsewhere" in found.blocked[0][1]
    write_result(tmp_path, "7", "error", "JobFailed (submission token-k)")
    assert kinds(sort(ledger, FakeCluster(), make_task())[0]) == FRESH


def test_a_dead_local_job_of_this_machine_does_not_block_slurm(ledger, tmp_path):
    import socket

    ledger.write(make_entry(tmp_path, cluster="local", host=socket.gethostname(), job_id="999999999"))
    assert kinds(sort(ledger, FakeCluster(), make_task())[0]) == FRESH
