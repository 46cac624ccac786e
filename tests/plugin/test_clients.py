"""Calls of programs, and the environment that jobs inherit."""

import os
import sys

from snakemake_executor_plugin_submitit.clients import Answer, call, submission_environment
from snakemake_executor_plugin_submitit.cluster import cluster_name


def test_calls_never_raise_and_never_hang():
    assert call([sys.executable, "-c", "print(1)"]).out == "1\n"
    assert call([sys.executable, "-c", "import sys; sys.exit('no')"]).err == "no\n"
    late = call([sys.executable, "-c", "import time; time.sleep(20)"], 0.3)
    assert late.status == -1 and "timed out" in late.err
    assert "[Errno 2]" in call(["/no/such/program"]).err


def test_an_enclosing_job_does_not_leak_into_the_new_one(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "100")
    monkeypatch.setenv("SLURM_CONF", "/conf")
    before = dict(os.environ)
    with submission_environment({"SECRET": "s"}):
        assert os.environ["SECRET"] == "s" and os.environ["SLURM_CONF"] == "/conf"
        assert "SLURM_MEM_PER_CPU" not in os.environ and "SLURM_JOB_ID" not in os.environ
    assert dict(os.environ) == before


def test_outside_of_a_job_nothing_is_removed(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "100")
    with submission_environment({}):
        assert os.environ["SLURM_MEM_PER_CPU"] == "100"


def test_the_environment_comes_back_after_an_error(monkeypatch):
    before = dict(os.environ)
    try:
        with submission_environment({"SECRET": "s"}):
            raise RuntimeError
    except RuntimeError:
        pass
    assert dict(os.environ) == before


def found(program):
    return f"/usr/bin/{program}"


def test_which_cluster_auto_means():
    up, down = (
        Answer(0, "Slurmctld(primary) at x is UP", ""),
        Answer(1, "Slurmctld(primary) at x is DOWN", ""),
    )
    unset = Answer(1, "", "scontrol: fatal: Could not establish a configuration source")
    assert cluster_name("auto", found, lambda command: up) == "slurm"
    assert cluster_name("auto", found, lambda command: down) == "slurm"
    assert cluster_name("auto", found, lambda command: unset) == "local"
    assert cluster_name("auto", lambda program: None, lambda command: up) == "local"


def test_the_cluster_that_a_user_names_is_taken():
    assert cluster_name("slurm") == "slurm" and cluster_name("local") == "local"
