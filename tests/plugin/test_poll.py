"""Polling rounds over a fake cluster."""

import pytest

from snakemake_executor_plugin_submitit.poll import Poller
from snakemake_executor_plugin_submitit.states import UNCLEAR, JobState, Verdict

from .fakes import FakeCluster, make_submission, write_result


@pytest.fixture
def cluster():
    return FakeCluster()


def test_successes_come_from_files_and_ask_nobody(tmp_path, cluster):
    jobs = [make_submission(tmp_path, key=f"k{n}", job_id=str(n)) for n in range(50)]
    for job in jobs:
        write_result(tmp_path, job.entry.job_id, "success", {"token": job.entry.token})
    reports = Poller(cluster, 60).round(jobs, 2000.0)
    assert len(reports) == 50 and all(report.ok for report in reports)
    assert cluster.queries == 0


def test_all_others_cost_one_query_together(tmp_path, cluster):
    jobs = [make_submission(tmp_path, key=f"k{n}", job_id=f"5_{n}") for n in range(300)]
    cluster.known = {job.entry.job_id: JobState("RUNNING") for job in jobs}
    assert Poller(cluster, 60).round(jobs, 2000.0) == []
    assert cluster.queries == 1


def test_no_jobs_no_query(cluster):
    assert Poller(cluster, 60).round([], 0.0) == []
    assert cluster.queries == 0


def test_a_stale_success_does_not_count(tmp_path, cluster):
    job = make_submission(tmp_path)
    write_result(tmp_path, "7", "success", {"token": "an-older-one"})
    cluster.known["7"] = JobState("RUNNING")
    assert Poller(cluster, 60).round([job], 2000.0) == []


def test_a_failure_carries_the_schedulers_reason_at_once_if_it_knows(tmp_path, cluster):
    job = make_submission(tmp_path)
    write_result(tmp_path, "7", "error", "JobFailed: x (submission token-k)")
    cluster.known["7"] = JobState("OUT_OF_MEMORY", node="n1")
    (report,) = Poller(cluster, 60).round([job], 2000.0)
    assert not report.ok and report.outcome is not None
    assert job.state == JobState("OUT_OF_MEMORY", node="n1")


def test_a_failure_does_not_wait_for_ever_for_a_reason(tmp_path, cluster):
    job = make_submission(tmp_path)
    write_result(tmp_path, "7", "error", "JobFailed: x (submission token-k)")
    poller = Poller(cluster, 60)
    cluster.known["7"] = JobState("COMPLETING")
    assert poller.round([job], 2000.0) == []
    assert poller.round([job], 2010.0) == []
    (report,) = poller.round([job], 2021.0)
    assert report.outcome is not None and not report.ok


def test_a_killed_job_is_reported_in_the_second_round(tmp_path, cluster):
    job = make_submission(tmp_path)
    poller = Poller(cluster, 60)
    cluster.known["7"] = JobState("CANCELLED", by="1000")
    assert poller.round([job], 2000.0) == []
    (report,) = poller.round([job], 2010.0)
    assert report.outcome is None and report.verdict is Verdict.FAILED
    assert job.state is not None and job.state.by == "1000"


def test_silence_of_the_scheduler_is_no_loss(tmp_path, cluster):
    job = make_submission(tmp_path)
    poller = Poller(cluster, 60)
    cluster.known["7"] = JobState(UNCLEAR)
    assert all(poller.round([job], 2000.0 + 1000 * n) == [] for n in range(5))
    cluster.known.clear()
    assert poller.round([job], 9000.0) == []
    (report,) = poller.round([job], 9060.0)
    assert report.verdict is Verdict.LOST


def test_a_result_that_comes_during_the_query_wins(tmp_path, cluster):
    job = make_submission(tmp_path)
    job.watch.bad_rounds = 1

    class Late(FakeCluster):
        def states(self, jobs):
            write_result(tmp_path, "7", "success", {"token": "token-k"})
            return {"7": JobState("NODE_FAIL")}

    (report,) = Poller(Late(), 60).round([job], 2000.0)
    assert report.ok
