"""A head that dies, and a controller that restarts or is away, on a real Slurm."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .private_cluster import PrivateCluster
from .workflow import Workflow

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1500)]
Make = Callable[[str], Workflow]

CELLS = """
from prunegrid.grid import takeover
takeover.release()
onstart:
    takeover.record()
CELLS = [str(n) for n in range(config["count"])]
rule all:
    input: expand("out/{cell}.txt", cell=CELLS), expand("late/{cell}.txt", cell=CELLS[:config["late"]])
rule cell:
    output: "out/{cell}.txt"
    threads: 2
    resources: runtime=5, mem_mb=100
    shell: "echo begin-{wildcards.cell} >> side; sleep 4; echo end-{wildcards.cell} >> side; touch {output}"
rule late:
    input: "out/{cell}.txt"
    output: "late/{cell}.txt"
    resources: runtime=5, mem_mb=100
    shell: "echo late-{wildcards.cell} >> side; touch {output}"
"""
FOUR_AT_ONCE = ("--submitit-array-parallelism", "4")


def once_each(count: int, late: int = 0) -> list[str]:
    """The side file, sorted, if every cell began and ended exactly once."""
    return sorted(
        [f"{what}-{n}" for what in ("begin", "end") for n in range(count)]
        + [f"late-{n}" for n in range(late)]
    )


def test_the_jobs_of_a_killed_head_are_adopted(workflow: Make) -> None:
    work = workflow(CELLS)
    grid = ("--config", "count=16", "late=0")
    head = work.start(*FOUR_AT_ONCE, *grid)
    work.wait_for_lines("side", 4)  # four run, twelve wait
    head.kill()
    run = work.run(*grid)
    run.check()
    assert sorted(work.lines("side")) == once_each(16)
    assert run.output.count("Adopting slurm job") >= 12 and run.job_ids == []
    assert run.calls("sbatch") == []


def test_a_head_killed_during_submission(workflow: Make, tmp_path: Path) -> None:
    work = workflow(CELLS)
    grid = ("--config", "count=3", "late=0")
    # an sbatch that submits and then kills its caller, before the id can be written down
    spy = tmp_path / "spies" / "sbatch"
    honest = spy.read_text()
    spy.write_text(f'#!/bin/sh\n{shutil.which("sbatch")} "$@"\nkill -9 $PPID\n')
    head = work.start(*grid)
    head.wait()
    head.check(-signal.SIGKILL)
    spy.write_text(honest)
    work.run(*grid).check()
    assert sorted(work.lines("side")) == once_each(3)


def test_a_controller_that_restarts_and_one_that_is_away(cluster: PrivateCluster, workflow: Make) -> None:
    work = workflow(CELLS)
    run = work.start("--config", "count=8", "late=4", *FOUR_AT_ONCE)
    work.wait_for_lines("side", 2)
    cluster.stop_controller()
    cluster.start_controller()
    work.wait_for_lines("side", 6)
    cluster.stop_controller()
    gone = time.monotonic()
    run.wait_for("will be tried again")  # the next jobs became ready and could not be submitted
    time.sleep(max(0.0, 60.0 - (time.monotonic() - gone)))
    cluster.start_controller()
    run.wait()
    run.check()
    assert sorted(work.lines("side")) == once_each(8, 4)
    assert len(run.job_ids) == len(set(run.job_ids)) == 12


def test_a_test_does_not_begin_on_a_silent_accounting(cluster: PrivateCluster) -> None:
    if not cluster.accounting:
        pytest.skip("this cluster has no accounting")
    cluster.stop_accounting()
    assert not cluster.accounts()
    cluster.mend_accounting()
    assert cluster.accounts()
