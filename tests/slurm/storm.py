"""One workflow to which everything happens that clusters do: each rule is one fate."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from .daemons import until
from .private_cluster import PrivateCluster
from .workflow import Run, Workflow

# Nodes n3 and n4 belong to one fate each.
_ELSEWHERE = "--exclude=n3,n4"
_RULE = """
rule {name}:
    output: "{name}.out"
    log: "{name}.log"
    resources: runtime={runtime}, mem_mb=100, slurm_extra="{extra}"
    shell: {shell!r}
"""

# Saves and exits on SIGUSR2; the next start finds what was saved.
_TRAINER = """\
import os, signal, sys, time
open("trained.starts", "a").write("start\\n")
def save(number, frame):
    open("trained.saved", "a").write("saved\\n")
    sys.exit(9)
signal.signal(signal.SIGUSR2, save)
print("attempt", os.environ["SNAKEMAKE_SUBMITIT_RESTARTS"], flush=True)
if os.path.exists("trained.saved"):
    open(sys.argv[1], "w").write("done")
    sys.exit(0)
time.sleep(600)
"""
# Keeps the job's own process from acting on any signal: only Slurm's SIGKILL ends it.
_DEAFEN = """\
import psutil, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
job = [p for p in psutil.Process().parents() if "submitit.core._submit" in p.cmdline()]
end = time.monotonic() + 600
while time.monotonic() < end and job[0].is_running():
    for process in job:
        process.suspend()
    time.sleep(0.02)
"""

FATES: dict[str, dict[str, object]] = {
    "exits": {"shell": "echo to-the-log >&2; exit 7"},
    "killed": {"shell": "kill -9 $$"},
    "full": {"shell": "echo x > /dev/full && touch {output}"},
    "big": {"shell": "ulimit -f 1; head -c 1000000 /dev/zero > {output}"},
    "cancelled": {"shell": "echo up > cancelled.up; sleep 600"},
    "held": {"shell": "touch {output}", "extra": f"{_ELSEWHERE} --hold"},
    "late": {"shell": "echo up >> late.up; trap '' TERM; sleep 200 & wait; sleep 200", "runtime": 1},
    "deaf": {"shell": "python deafen.py", "runtime": 2},
    "node": {"shell": "echo up > node.up; sleep 600", "extra": "--nodelist=n3 --no-requeue"},
    "trained": {"shell": "python trainer.py {output} > {log} 2>&1", "runtime": 2},
    "preempted": {
        "shell": "echo start >> preempted.starts; sleep 10; echo done > {output}",
        "extra": "--nodelist=n4 --exclusive",
    },
    **{f"good{number}": {"shell": "echo $SLURM_JOB_ID > {output}"} for number in range(3)},
}
SURVIVORS = ("trained", "preempted", "good0", "good1", "good2")


def snakefile() -> str:
    """The Snakefile of all fates."""
    common = {"runtime": 5, "extra": _ELSEWHERE}
    rules = [_RULE.format(**{**common, **fate, "name": name}) for name, fate in FATES.items()]
    return "".join([f"rule all:\n    input: {[f'{name}.out' for name in FATES]}\n", *rules])


def break_loose(cluster: PrivateCluster, folder: Path) -> tuple[Workflow, Run]:
    """Run the workflow and bring each fate about; returns when Snakemake has ended."""
    work = Workflow(folder, cluster.conf, snakefile())
    (folder / "trainer.py").write_text(_TRAINER)
    (folder / "deafen.py").write_text(_DEAFEN)
    run = work.start("--submitit-max-timeouts", "1", "--submitit-signal-delay", "30", "--submitit-keep-logs")
    try:
        _bring_about(cluster, work, run)
        run.wait()
    finally:
        work.end()
        _restore(cluster)
    return work, run


def _bring_about(cluster: PrivateCluster, work: Workflow, run: Run) -> None:
    run.wait_for("(held-")
    work.wait_for_lines("node.up", 1)
    cluster.kill_node("n3")
    cluster.client("scontrol", "update", "nodename=n3", "state=down", "reason=test")
    work.wait_for_lines("preempted.starts", 1)
    whole = ("-w", "n4", "--exclusive", "-p", "urgent", "-o", "/dev/null")
    cluster.client("sbatch", *whole, "--wrap", "sleep 3")
    work.wait_for_lines("cancelled.up", 1)
    cluster.client("scancel", _id_of(run, "cancelled"))
    waiting = ("squeue", "-h", "-t", "PENDING", "-o", "%r")
    until(lambda: "JobHeldUser" in cluster.client(*waiting), 60, "a job waits for ever")
    run.wait_for("may wait for ever: JobHeldUser")
    cluster.client("scancel", _id_of(run, "held"))


def _id_of(run: Run, name: str) -> str:
    return next(
        line.split()[-2] for line in run.output.splitlines() if f"({name}-" in line and "is slurm job" in line
    )


def _restore(cluster: PrivateCluster) -> None:
    cluster.client("scancel", "--user=root")
    cluster.start_node("n3")
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            cluster.client("scontrol", "update", "nodename=n3", "state=resume")
            break
        except subprocess.CalledProcessError:  # it resumed by itself, or is not there yet
            if "idle" in cluster.client("sinfo", "-h", "-n", "n3", "-o", "%t"):
                break
            time.sleep(1)
    cluster.wait_for_nodes()
