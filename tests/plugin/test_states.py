"""What follows from what the scheduler says."""

import pytest

from snakemake_executor_plugin_submitit.states import FAILURES, JobState, Verdict, Watch

GRACE = 60.0


def verdicts(states, step=10.0):
    """Verdicts over rounds that are `step` seconds apart."""
    watch = Watch()
    return [watch.judge(JobState(s) if s else None, i * step, GRACE) for i, s in enumerate(states)]


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED", "NEW_STATE"])
def test_living_jobs_stay(state):
    assert set(verdicts([state] * 50)) == {Verdict.ACTIVE}


@pytest.mark.parametrize("state", sorted(FAILURES))
def test_a_failure_is_believed_in_the_second_round(state):
    assert verdicts(["RUNNING", state, state]) == [Verdict.ACTIVE, Verdict.ACTIVE, Verdict.FAILED]


def test_a_requeue_after_node_failure_is_no_failure():
    assert set(verdicts(["RUNNING", "NODE_FAIL", "PENDING", "RUNNING", "NODE_FAIL", "PENDING"])) == {
        Verdict.ACTIVE
    }


def test_an_unknown_job_is_lost_after_the_grace_period_and_not_before():
    found = verdicts(["RUNNING", *[None] * 7])
    assert found == [Verdict.ACTIVE] * 7 + [Verdict.LOST]


def test_a_job_that_turns_up_again_starts_the_grace_period_anew():
    assert set(verdicts([*[None] * 6, "RUNNING", *[None] * 6])) == {Verdict.ACTIVE}


def test_complete_without_a_result_waits_for_slow_file_systems():
    assert verdicts(["COMPLETED"] * 7) == [Verdict.ACTIVE] * 6 + [Verdict.FAILED]


def test_preempted_without_requeue_ends_after_the_grace_period():
    assert set(verdicts(["PREEMPTED"] * 3 + ["RUNNING"])) == {Verdict.ACTIVE}
    assert verdicts(["PREEMPTED"] * 7)[-1] is Verdict.FAILED


def test_what_only_a_person_can_end():
    assert JobState("PENDING", "BadConstraints").stuck
    assert not JobState("PENDING", "Resources").stuck
    assert not JobState("RUNNING", "BadConstraints").stuck
