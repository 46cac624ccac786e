"""A head that dies, and a controller that restarts or is away, on a real Slurm."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from .private_cluster import PrivateCluster

pytestmark = pytest.mark.slurm

CELLS = """
CELLS = [str(n) for n in range(config.get("count", 16))]
rule all:
    input: expand("out/{cell}.txt", cell=CELLS)
rule cell:
    output: "out/{cell}.txt"
    threads: 2
    resources: runtime=5
    shell: "echo begin-{wildcards.cell} >> side; sleep 5; echo end-{wildcards.cell} >> side; touch {output}"
"""
LATE = """
rule late:
    input: "out/0.txt"
    output: "late.txt"
    resources: runtime=5
    shell: "touch {output}"
"""


def once_each(side: list[str], count: int) -> bool:
    """Whether every cell began and ended exactly once."""
    return sorted(side) == sorted(f"{what}-{n}" for what in ("begin", "end") for n in range(count))


def test_the_jobs_of_a_killed_head_are_adopted(cluster: PrivateCluster, workflow):
    work = workflow(CELLS)
    head = work.start()
    work.wait_for_lines("side", 4)  # four run, twelve wait
    head.kill()
    run = work.run("--nolock", "--rerun-incomplete", seconds=200)
    run.check()
    assert once_each(work.lines("side"), 16), work.lines("side")
    assert run.output.count("Adopting slurm job") >= 12 and run.job_ids == []


def test_a_head_killed_during_submission(cluster: PrivateCluster, workflow, tmp_path):
    work = workflow(CELLS)
    # an sbatch that submits and then kills its caller's parent, before the id can be written down
    fake = tmp_path / "bin" / "sbatch"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\n/usr/bin/sbatch "$@"\nkill -9 $PPID\n')
    fake.chmod(0o755)
    path = work.env["PATH"]
    work.env["PATH"] = f"{fake.parent}{os.pathsep}{path}"
    head = work.start("--config", "count=3")
    head.wait(60)
    head.check(-signal.SIGKILL)
    work.env["PATH"] = path
    work.run("--config", "count=3", "--nolock", "--rerun-incomplete", seconds=200).check()
    time.sleep(3)
    assert once_each(work.lines("side"), 3), work.lines("side")


def _controller(cluster: PrivateCluster) -> int:
    return int((cluster.folder / "slurmctld.pid").read_text())


def _stop(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.1)


@pytest.mark.parametrize("seconds", [0, 60])
def test_a_controller_that_goes_away_for_a_while(cluster: PrivateCluster, workflow, seconds):
    work = workflow(CELLS + LATE)
    run = work.start("all", "late.txt", "--config", "count=6")
    work.wait_for_lines("side", 2)
    _stop(_controller(cluster))
    time.sleep(seconds)
    cluster.start_controller()
    run.wait(240)
    run.check()
    assert once_each(work.lines("side"), 6), work.lines("side")
