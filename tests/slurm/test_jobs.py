"""Jobs on a real Slurm: arrays, every way to die, preemption, time limits."""

import os
import re
import signal
import time

import pytest

from .private_cluster import PrivateCluster

pytestmark = pytest.mark.slurm

GRID = """
rule all:
    input: expand("out/{m}-{s}.txt", m=["a", "b"], s=range(3)), expand("score/{m}.txt", m=["a", "b"])
rule predict:
    output: "out/{m}-{s}.txt"
    log: "logs/{m}-{s}.log"
    threads: 2
    resources: runtime=5, mem_mb=100, gpu=1
    shell: "echo {wildcards.m}-{wildcards.s} gpu=$CUDA_VISIBLE_DEVICES node=$SLURMD_NODENAME > {output}"
rule score:
    input: expand("out/{{m}}-{s}.txt", s=range(3))
    output: "score/{m}.txt"
    resources: runtime=5
    shell: "cat {input} > {output}"
"""

ONE = """
rule all:
    input: "a.out", "good.out"
rule a:
    output: "a.out"
    log: "a.log"
    resources: runtime={runtime}, mem_mb=100, {more}
    shell: {shell!r}
rule good:
    output: "good.out"
    resources: runtime=5
    shell: "echo $SLURM_JOB_ID > {{output}}"
"""


def one(shell: str, runtime: int = 5, more: str = "") -> str:
    """Rule `a` with a shell command, beside a rule that always works."""
    return ONE.format(shell=shell, runtime=runtime, more=more)


def test_a_grid_goes_out_as_arrays_and_comes_home(cluster: PrivateCluster, workflow, tmp_path):
    work = workflow(GRID)
    work.run().check()
    lines = (tmp_path / "out/b-2.txt").read_text().split()
    assert lines[:2] == ["b-2", "gpu=0"] and re.fullmatch(r"node=n\d", lines[2])
    assert len((tmp_path / "score/a.txt").read_text().splitlines()) == 3
    output = (tmp_path / "run1.txt").read_text()
    arrays = {job_id.split("_")[0] for job_id in re.findall(r"slurm job (\d+_\d+) \(predict", output)}
    assert len(arrays) == 1 and len(re.findall(r"slurm job \d+_\d \(predict", output)) == 6
    left = [path for path in (tmp_path / ".snakemake/submitit").rglob("*") if path.is_file()]
    assert left == []


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("echo to-the-log >&2; exit 7", ["exited with status 1", "to-the-log", "on "]),
        ("kill -9 $$", ["SIGKILL", "mem_mb=100"]),
        ("ulimit -f 1; head -c 1000000 /dev/zero > {output}", ["SIGXFSZ"]),
        ("echo x > /dev/full && touch {output}", ["No space left on device"]),
    ],
)
def test_a_failing_job_is_reported_and_the_others_finish(workflow, tmp_path, shell, words):
    work = workflow(one(shell))
    run = work.run("--keep-going", seconds=60)
    run.check(1)
    assert all(word in run.output for word in words), run.output
    assert (tmp_path / "good.out").exists() and not (tmp_path / "a.out").exists()


def test_retries_submit_again_with_more(cluster: PrivateCluster, workflow, tmp_path):
    shell = "echo $SLURM_JOB_ID >> tries; test $(wc -l < tries) = 2 && touch {output}"
    work = workflow(one(shell, more="nodes=lambda wc, attempt: attempt"))
    work.run("--retries", "2").check()
    assert len(set(work.lines("tries"))) == 2


def test_scancel_is_reported_as_such(cluster: PrivateCluster, workflow, tmp_path):
    work = workflow(one("echo up >> up; sleep 120"))
    run = work.start("--keep-going")
    work.wait_for_lines("up", 1)
    cluster.client("scancel", *run.job_ids)
    run.wait(60)
    run.check(1)
    assert "CANCELLED" in run.output, run.output
    if cluster.accounting:
        assert "CANCELLED by user 0" in run.output


def test_a_job_that_waits_for_ever_and_is_cancelled(cluster: PrivateCluster, workflow, tmp_path):
    work = workflow(one("true", more='slurm_extra="--hold"'))
    run = work.start("--keep-going")
    run.wait_for("is slurm job", 30)
    time.sleep(3)
    rows = [line.split("|") for line in cluster.client("squeue", "-h", "-o", "%i|%r").splitlines()]
    cluster.client("scancel", *[job_id for job_id, reason in rows if reason == "JobHeldUser"])
    run.wait(60)
    run.check(1)
    assert "CANCELLED" in run.output and (tmp_path / "good.out").exists()


def test_ctrl_c_cancels_everything(cluster: PrivateCluster, workflow, tmp_path):
    work = workflow(one("echo up >> up; sleep 120"))
    run = work.start()
    work.wait_for_lines("up", 1)
    run.interrupt()
    run.wait(30)
    end = time.monotonic() + 30
    while cluster.client("squeue", "-h", "-t", "PENDING,RUNNING", "-o", "%i").split():
        assert time.monotonic() < end, "jobs run on after Ctrl-C"
        time.sleep(0.5)


def test_past_its_time_limit(cluster: PrivateCluster, workflow, tmp_path):
    shell = "trap '' TERM; echo up >> up; sleep 400 & wait; sleep 400"
    work = workflow(one(shell, runtime=1))
    run = work.run(
        "--keep-going", "--submitit-max-timeouts", "0", "--submitit-signal-delay", "20", seconds=180
    )
    run.check(1)
    assert "time limit of 1 min reached" in run.output or "TIMEOUT" in run.output, run.output


TRAINER = """
import os, signal, sys, time
open("starts", "a").write("start\\\\n")
def save(number, frame):
    open("saved", "a").write("saved\\\\n")
    sys.exit(9)
signal.signal(signal.SIGUSR2, save)
print("attempt", os.environ["SNAKEMAKE_SUBMITIT_RESTARTS"], flush=True)
if os.path.exists("saved"):
    open(sys.argv[1], "w").write("done")
    sys.exit(0)
time.sleep(300)
"""


def trainer(tmp_path) -> str:
    (tmp_path / "trainer.py").write_text(TRAINER.replace("\\\\n", "\\n"))
    return "python trainer.py {output} > {log} 2>&1"


def test_a_time_limit_is_survived_by_requeue(cluster: PrivateCluster, workflow, tmp_path):
    work = workflow(one(trainer(tmp_path), runtime=1))
    run = work.run("--submitit-signal-delay", "20", "--submitit-keep-logs", seconds=240)
    run.check()
    assert (tmp_path / "a.log.attempt1").read_text() == "attempt 0\n"
    assert (tmp_path / "a.log").read_text() == "attempt 1\n"
    logs = [path.read_text() for path in (tmp_path / ".snakemake/submitit").rglob("*_log.out")]
    assert any("restart 0" in log and "restart 1" in log for log in logs)
    assert work.lines("starts") == ["start"] * 2 and work.lines("saved") == ["saved"]
    assert run.output.count("(Rule: a)") == 1 and len(run.job_ids) == 2
    assert (tmp_path / "a.out").read_text() == "done"


def test_preemption_by_a_higher_partition_and_requeue(cluster: PrivateCluster, workflow, tmp_path):
    shell = "echo start >> starts; sleep 15; echo done > {output}"
    work = workflow(one(shell, more='slurm_extra="--nodelist=n4 --exclusive"'))
    run = work.start()
    work.wait_for_lines("starts", 1)
    urgent = ["sbatch", "-p", "urgent", "-w", "n4", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 5"]
    cluster.client(*urgent)
    run.wait(200)
    run.check()
    assert work.lines("starts") == ["start"] * 2
    assert run.output.count("(Rule: a)") == 1
    assert (tmp_path / "a.out").read_text() == "done\n"


def test_a_dead_node(cluster: PrivateCluster, workflow, tmp_path):
    work = workflow(one("echo $SLURMD_NODENAME >> up; sleep 20; touch {output}"))
    run = work.start("--keep-going", "--set-resources", "a:slurm_extra='--nodelist=n3 --no-requeue'")
    work.wait_for_lines("up", 1)
    daemon = int((cluster.folder / "slurmd-n3.pid").read_text())
    os.kill(daemon, signal.SIGKILL)
    try:
        cluster.client("scontrol", "update", "nodename=n3", "state=down", "reason=test")
        run.wait(60)
        run.check(1)
        assert "NODE_FAIL" in run.output and "n3" in run.output, run.output
    finally:
        cluster.start_node("n3")
        cluster.client("scontrol", "update", "nodename=n3", "state=resume")
        cluster.wait_for_nodes()
