"""Arrays, retries, Ctrl-C and many jobs on a real Slurm, with the calls of its programs counted."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from .daemons import until
from .private_cluster import PrivateCluster
from .workflow import Workflow

# What accounting does not change: one flavour is enough.
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(3000),
    pytest.mark.parametrize("cluster", ["plain"], indirect=True, scope="session"),
]
Make = Callable[[str], Workflow]

GRID = """
rule all:
    input: expand("out/{m}-{s}.txt", m=["a", "b"], s=range(3)), expand("other/{m}.txt", m=["a", "b"])
rule predict:
    output: "out/{m}-{s}.txt"
    log: "logs/{m}-{s}.log"
    threads: 2
    resources: runtime=5, mem_mb=100, gpu=1
    shell: "echo {wildcards.m}-{wildcards.s} gpu=$CUDA_VISIBLE_DEVICES node=$SLURMD_NODENAME > {output}"
rule other:
    output: "other/{m}.txt"
    threads: 2
    resources: runtime=5, mem_mb=100, gpu=1
    shell: "echo x > {output}"
"""

MANY = """
rule all:
    input: expand("out/{n}.txt", n=range(config["count"]))
rule short:
    output: "out/{n}.txt"
    resources: runtime=5, mem_mb=100
    shell: "touch {output}"
"""

SLEEPING = """
rule all:
    input: expand("{n}.out", n=range(6))
rule sleep:
    output: "{n}.out"
    resources: runtime=5, mem_mb=100
    shell: "echo $SLURM_JOB_ID >> up; sleep 100"
"""

RETRIED = """
rule a:
    output: "a.out"
    resources: runtime=5, mem_mb=lambda wildcards, attempt: 100 * attempt
    shell: "echo $SLURM_JOB_ID $SLURM_MEM_PER_NODE >> tries; test $(wc -l < tries) = 2 && touch {output}"
"""


def test_a_grid_of_two_rules_goes_out_as_one_array(workflow: Make, tmp_path: Path) -> None:
    work = workflow(GRID)
    run = work.run()
    run.check()
    lines = (tmp_path / "out/b-2.txt").read_text().split()
    assert lines[:2] == ["b-2", "gpu=0"] and re.fullmatch(r"node=n\d", lines[2])
    assert len(run.job_ids) == 8 and len({job_id.split("_")[0] for job_id in run.job_ids}) == 1
    assert len(run.calls("sbatch")) == 1
    left = [path for path in (tmp_path / ".snakemake/submitit").rglob("*") if path.is_file()]
    assert left == []


def test_ctrl_c_cancels_everything_with_one_call(cluster: PrivateCluster, workflow: Make) -> None:
    work = workflow(SLEEPING)
    run = work.start()
    work.wait_for_lines("up", 3)
    run.interrupt()
    run.wait()
    assert len(run.calls("scancel")) == 1
    alive = ("squeue", "-h", "-t", "PENDING,RUNNING", "-o", "%i")
    until(lambda: not cluster.client(*alive).split(), 60, "all jobs end after Ctrl-C")


def test_many_short_jobs_cost_few_calls(cluster: PrivateCluster, workflow: Make, tmp_path: Path) -> None:
    work = workflow(MANY)
    run = work.run("--config", "count=300", "--seconds-between-status-checks", "10", seconds=2900)
    run.check()
    assert len(list((tmp_path / "out").iterdir())) == 300
    assert len(run.calls("sbatch")) == 3  # the site's MaxArraySize allows 101 tasks
    assert run.queries <= run.seconds / 10 + 3
    assert len(run.calls("scontrol show config")) == 1
    print(f"{run.seconds:.0f} s, {len(run.calls('sbatch'))} sbatch calls, {run.queries} queries")


def test_retries_submit_again_with_more(workflow: Make) -> None:
    work = workflow(RETRIED)
    work.run("--retries", "1").check()
    first, memory, second, more = work.lines("tries")
    assert first != second and (memory, more) == ("100", "200")


def test_what_slurm_refuses_is_said_at_once(workflow: Make, tmp_path: Path) -> None:
    work = workflow(SLEEPING.replace("mem_mb=100", 'mem_mb=100, slurm_partition="nowhere"'))
    run = work.run()
    run.check(1)
    assert "invalid partition specified" in run.output and not (tmp_path / "up").exists()
    assert len(run.calls("sbatch")) == 1
