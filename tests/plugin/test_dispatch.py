"""From tasks to submissions, with a scheduler that refuses now and then."""

from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.adopt import Adopter
from snakemake_executor_plugin_submitit.dispatch import Callbacks, Dispatcher
from snakemake_executor_plugin_submitit.gpus import GpuPool
from snakemake_executor_plugin_submitit.ledger import Ledger
from snakemake_executor_plugin_submitit.states import JobState

from .fakes import FakeCluster, make_entry, make_task

TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
FULL = "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: ..."


class Desk:
    """A dispatcher with a fake cluster, and what it told."""

    def __init__(self, folder: Path, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.ledger = Ledger(folder)
        self.told: list[tuple[str, str, bool]] = []
        self.failed: list[tuple[str, str]] = []
        self.lines: list[str] = []
        self.devices: list[tuple[str, ...]] = []
        self.dispatcher = Dispatcher(
            cluster=cluster,
            ledger=self.ledger,
            adopter=Adopter(self.ledger, cluster, 60.0, True, since=0.0),
            gpus=GpuPool(lambda: ("0", "1")),
            folder=folder,
            workdir=folder,
            max_timeouts=3,
            environment=dict,
            callbacks=Callbacks(
                self._submitted, lambda t, m: self.failed.append((t.identity.key, m)), self.lines.append
            ),
        )

    def _submitted(self, submission, adopted):
        self.told.append((submission.entry.key, submission.entry.job_id, adopted))
        self.devices.append(submission.entry.devices)


@pytest.fixture
def cluster():
    return FakeCluster()


@pytest.fixture
def desk(tmp_path, cluster):
    return Desk(tmp_path, cluster)


def tasks(count, **more):
    return [make_task(f"k{number}", **more) for number in range(count)]


def test_equal_jobs_cost_one_submission(desk, cluster):
    desk.dispatcher.dispatch(tasks(300), 1000.0)
    assert len(cluster.submitted) == 1 and cluster.queries == 0
    assert desk.told[0] == ("k0", "101_0", False) and desk.told[299] == ("k299", "101_299", False)


def test_arrays_are_cut_and_unequal_jobs_kept_apart(desk, cluster):
    cluster.array_limit = 4
    other = make_task("other", parameters={"time": 99})
    desk.dispatcher.dispatch([*tasks(10), other], 1000.0)
    assert [len(commands) for _, _, commands in cluster.submitted] == [3, 4, 3, 1]


def test_the_ledger_knows_each_job_and_tokens_are_unique(desk, cluster):
    desk.dispatcher.dispatch(tasks(5), 1000.0)
    entries = [desk.ledger.read(f"k{number}") for number in range(5)]
    assert [entry.job_id for entry in entries] == [f"101_{number}" for number in range(5)]
    commands = cluster.submitted[0][2]
    assert [command.token for command in commands] == [entry.token for entry in entries]
    assert len({command.token for command in commands}) == 5
    assert commands[0].claim == str(desk.ledger.claim(commands[0].token))


def test_the_ledger_is_written_before_the_submission(desk, cluster, monkeypatch):
    def die(*arguments):
        assert desk.ledger.read("k0").job_id == ""
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "submit", die)
    with pytest.raises(KeyboardInterrupt):
        desk.dispatcher.dispatch(tasks(1), 1000.0)
    assert desk.ledger.read("k0") is not None


def test_a_lost_answer_is_tried_again_after_taking_back_what_it_may_have_left(desk, cluster):
    cluster.errors = [TIMED_OUT]
    desk.dispatcher.dispatch(tasks(3), 1000.0)
    assert desk.told == [] and desk.failed == [] and desk.dispatcher.held == 3
    assert desk.ledger.read("k0") is None
    desk.dispatcher.retry(1000.5)
    assert cluster.submitted == []  # too early
    cluster.can_withdraw = False
    desk.dispatcher.retry(1010.0)
    assert cluster.submitted == [] and desk.dispatcher.held == 3  # nobody can say what is left: do not submit
    cluster.can_withdraw = True
    desk.dispatcher.retry(1100.0)
    assert len(cluster.submitted) == 1 and len(desk.told) == 3 and desk.dispatcher.held == 0
    assert cluster.withdrawn and cluster.withdrawn[0] != cluster.submitted[0][1]


def test_an_outage_is_not_waited_for_for_ever(desk, cluster):
    cluster.errors = [TIMED_OUT] * 1000
    desk.dispatcher.dispatch(tasks(1), 0.0)
    now = 0.0
    while not desk.failed:
        now += 60.0
        assert now < 4000, "never gave up"
        desk.dispatcher.retry(now)
    assert now > 1800 and "Socket timed out" in desk.failed[0][1]


def test_a_full_queue_is_tried_with_fewer_and_waited_for(desk, cluster):
    cluster.errors = [FULL]
    desk.dispatcher.dispatch(tasks(8), 0.0)
    desk.dispatcher.retry(0.0)
    assert [len(commands) for _, _, commands in cluster.submitted] == [4, 4]


def test_a_queue_that_stays_full_is_asked_seldom(desk, cluster):
    cluster.errors = [FULL] * 10000
    desk.dispatcher.dispatch(tasks(100), 0.0)
    for now in range(1, 3601):
        desk.dispatcher.retry(float(now))
    calls = 10000 - len(cluster.errors)
    assert desk.failed == [] and desk.dispatcher.held == 100
    assert calls < 10 + 4 * 90  # at most four a minute, after the first halvings
    cluster.errors = []
    desk.dispatcher.retry(9000.0)
    assert len(desk.told) == 100 and desk.dispatcher.held == 0


def test_after_one_refusal_the_rest_is_not_tried(desk, cluster):
    cluster.array_limit = 1
    cluster.errors = [TIMED_OUT] * 5
    desk.dispatcher.dispatch(tasks(5), 0.0)
    assert len(cluster.errors) == 4 and desk.dispatcher.held == 5


def test_a_refusal_for_good_fails_the_jobs_at_once(desk, cluster):
    cluster.errors = ["sbatch: error: invalid partition specified: gpux"]
    desk.dispatcher.dispatch(tasks(2), 0.0)
    assert [key for key, _ in desk.failed] == ["k0", "k1"] and "gpux" in desk.failed[0][1]
    assert desk.dispatcher.held == 0 and desk.ledger.read("k0") is None


def test_what_there_is_is_asked_once_and_stands_beside_the_first_job(desk, cluster):
    cluster.errors = ["sbatch: error: invalid partition specified: gpux"] * 2 + ["Invalid account"]
    for _ in range(3):  # refused, retried and refused again; then for another reason
        desk.dispatcher.dispatch(tasks(2), 0.0)
    shown = ["partition main" in message for _, message in desk.failed]
    assert shown == [True, False] * 3 and cluster.queries == 2
    assert all("runtime=10" in message for _, message in desk.failed)


def test_adopted_jobs_are_not_submitted(desk, cluster, tmp_path):
    desk.ledger.write(make_entry(tmp_path, "k0"))
    cluster.known["7"] = JobState("RUNNING")
    desk.dispatcher.dispatch(tasks(2), 5000.0)
    assert ("k0", "7", True) in desk.told and ("k1", "101", False) in desk.told
    assert len(cluster.submitted) == 1


def test_a_job_of_other_work_is_replaced_when_it_is_gone(desk, cluster, tmp_path):
    desk.ledger.write(make_entry(tmp_path, "k0", work="old"))
    cluster.known["7"] = JobState("RUNNING")
    desk.dispatcher.dispatch(tasks(1), 5000.0)
    assert cluster.cancelled == ["7"] and cluster.submitted == [] and desk.dispatcher.held == 1
    cluster.known["7"] = JobState("COMPLETING")
    desk.dispatcher.retry(5010.0)
    assert cluster.submitted == []
    cluster.known["7"] = JobState("CANCELLED")
    desk.dispatcher.retry(5100.0)
    assert len(cluster.submitted) == 1


def test_dropped_jobs_stay_dropped(desk, cluster):
    cluster.errors = [TIMED_OUT]
    desk.dispatcher.dispatch(tasks(1), 0.0)
    desk.dispatcher.drop()
    desk.dispatcher.retry(1000.0)
    assert cluster.submitted == []


def test_local_jobs_get_different_gpus(tmp_path):
    cluster = FakeCluster("local", array_limit=1)
    desk = Desk(tmp_path, cluster)
    desk.dispatcher.dispatch([*tasks(2, gpus=1), make_task("cpu")], 0.0)
    seen = [command.env["CUDA_VISIBLE_DEVICES"] for _, _, (command,) in cluster.submitted]
    assert seen == ["0", "1", ""] and desk.devices == [("0",), ("1",), ()]
