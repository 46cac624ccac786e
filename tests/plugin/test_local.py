"""Jobs as processes of this machine."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from snakemake_executor_plugin_submitit.child import session_members
from snakemake_executor_plugin_submitit.claims import Claim, read_claim
from snakemake_executor_plugin_submitit.command import SnakemakeCommand
from snakemake_executor_plugin_submitit.local import LocalCluster, is_controller
from snakemake_executor_plugin_submitit.resources import Options, submitit_parameters
from snakemake_executor_plugin_submitit.results import read_outcome, result_path
from snakemake_executor_plugin_submitit.states import Question


def start(cluster: LocalCluster, folder: Path, text: str) -> str:
    parameters = submitit_parameters({"runtime": 5}, 1, cluster="local", options=Options())
    command = SnakemakeCommand(text, str(folder), "x", "token", str(folder / "claim.json"))
    (job_id,) = cluster.submit(folder, "name", "mark", parameters, [command])
    return job_id


def wait_until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def claim_of(folder: Path) -> Claim | None:
    claim = read_claim(folder / "claim.json")
    return claim if claim and claim.session else None


def state(cluster: LocalCluster, job_id: str) -> str:
    return cluster.states({job_id: Question(0.0)})[job_id].state


def test_a_job_runs_and_ends(tmp_path):
    cluster = LocalCluster()
    text = "while [ ! -e go ]; do sleep 0.1; done; echo gpus=[$CUDA_VISIBLE_DEVICES]"
    job_id = start(cluster, tmp_path, text)
    assert state(cluster, job_id) == "RUNNING" and is_controller(int(job_id))
    (tmp_path / "go").touch()
    wait_until(lambda: state(cluster, job_id) == "FAILED")  # gone; whether it succeeded, its result says
    found = read_outcome(result_path(tmp_path, job_id), "token", 0.0)
    assert found is not None and found.ok
    assert "gpus=[]" in (tmp_path / f"{job_id}_0_log.out").read_text()


def test_a_job_that_ended_well_leaves_no_zombie(tmp_path):
    cluster = LocalCluster()
    ended = start(cluster, tmp_path, "true")
    wait_until(lambda: psutil.Process(int(ended)).status() == psutil.STATUS_ZOMBIE)
    killed = start(cluster, tmp_path, "sleep 60")
    assert not psutil.pid_exists(int(ended))
    wait_until(lambda: claim_of(tmp_path))
    os.kill(int(killed), signal.SIGKILL)
    wait_until(lambda: psutil.Process(int(killed)).status() == psutil.STATUS_ZOMBIE)
    start(cluster, tmp_path, "true")
    found = cluster.states({killed: Question(0.0)})[killed]
    assert (found.state, found.exit_code) == ("FAILED", "0:9"), "who asks is still told how it ended"
    cluster.cancel([killed], {killed: claim_of(tmp_path)})


@pytest.mark.parametrize("own", [True, False])
def test_cancelling_ends_all_processes(tmp_path, own):
    cluster = LocalCluster()
    job_id = start(cluster, tmp_path, "trap '' TERM INT; sleep 60 & sleep 60")
    wait_until(lambda: claim_of(tmp_path) and len(session_members(claim_of(tmp_path).session)) >= 2)
    claim = claim_of(tmp_path)
    if not own:  # an adopted job, whose controller ignores SIGINT
        os.kill(int(job_id), signal.SIGSTOP)
    (cluster if own else LocalCluster()).cancel([job_id], {job_id: claim})
    wait_until(lambda: state(cluster, job_id) == "FAILED")
    wait_until(lambda: session_members(claim.session) == [])


def test_a_process_id_that_somebody_else_uses_is_not_ours():
    assert not is_controller(os.getpid())
    assert not is_controller(999999999)
    assert LocalCluster().states({str(os.getpid()): Question(0.0)})[str(os.getpid())].state == "FAILED"


def test_cancelling_what_is_gone_does_no_harm():
    LocalCluster().cancel(["999999999"], {"999999999": None})
