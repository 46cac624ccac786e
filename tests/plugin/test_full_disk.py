"""A full disk under the submitit folder: jobs wait or are cancelled, and Snakemake lives on."""

import errno
import logging
import threading

import pytest

from snakemake_executor_plugin_submitit.adopt import Adopter
from snakemake_executor_plugin_submitit.dispatch import Callbacks, Dispatcher
from snakemake_executor_plugin_submitit.executor import Executor
from snakemake_executor_plugin_submitit.gpus import GpuPool
from snakemake_executor_plugin_submitit.ledger import Ledger
from snakemake_executor_plugin_submitit.poll import Report

from .fakes import FakeCluster, make_submission, make_task


class Disk:
    """Fails every write of a text file while it is full."""

    full = True

    def write_text(self, path, text):
        path.touch()  # as on a real full disk: an empty file comes into being
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return path.write_bytes(text.encode())


@pytest.fixture
def disk(monkeypatch):
    disk = Disk()
    monkeypatch.setattr("pathlib.Path.write_text", lambda path, text: disk.write_text(path, text))
    return disk


def test_a_submission_waits_until_there_is_space(tmp_path, disk):
    ledger, cluster = Ledger(tmp_path), FakeCluster()
    told, failed, lines = [], [], []
    dispatcher = Dispatcher(
        cluster=cluster,
        ledger=ledger,
        adopter=Adopter(ledger, cluster, 60.0, True, since=0.0),
        gpus=GpuPool(lambda: ()),
        folder=tmp_path,
        workdir=tmp_path,
        max_timeouts=3,
        environment=dict,
        callbacks=Callbacks(
            lambda job, adopted: told.append(job), lambda *why: failed.append(why), lines.append
        ),
    )
    dispatcher.dispatch([make_task()], 0.0)
    assert dispatcher.held == 1 and failed == cluster.submitted == []
    assert "No space left" in lines[0] and str(tmp_path.parent) in lines[0]
    assert list((tmp_path / "ledger").iterdir()) == []
    disk.full = False
    dispatcher.retry(100.0)
    assert len(told) == 1 and ledger.read("k").job_id == "101"


@pytest.fixture
def executor(tmp_path):
    executor = Executor.__new__(Executor)  # without its polling thread
    executor._guard = threading.RLock()
    executor._ledger = Ledger(tmp_path)
    executor._cluster = FakeCluster()
    executor._gpus = GpuPool(lambda: ())
    executor._dispatcher = type("Nothing", (), {"drop": lambda self: None})()
    executor.logger = logging.getLogger("test")
    submission = make_submission(tmp_path)
    executor._live = {submission.entry.token: submission}
    return executor


def test_ctrl_c_still_cancels(executor, disk, caplog):
    executor.cancel_jobs([])
    assert executor._cluster.cancelled == ["7"] and "No space left" in caplog.text


def test_a_failed_job_is_still_reported(executor, disk, monkeypatch):
    failed = []
    monkeypatch.setattr(executor, "_fail", lambda info, message, logs: failed.append(message))
    (submission,) = executor._live.values()
    submission.task.job.resources = {}
    executor._on_report(None, Report(submission, None))
    assert len(failed) == 1 and executor._live == {}
