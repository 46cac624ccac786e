"""A training on a real Slurm that an urgent job preempts: it saves, is requeued, and ends with the same bits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from prunegrid.grid.plan import make

from .conftest import end
from .private_cluster import PrivateCluster
from .test_study import clone
from .workflow import Run, Workflow

# What accounting does not change: one flavour is enough.
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(1500),
    pytest.mark.parametrize("cluster", ["plain"], indirect=True, scope="session"),
]
STEPS = 60
STUDY = f"""
title: A training that is preempted
blocks:
  - model: mini
    task: mini_vqa
    reducer: topk_cls
    tuning: {{mini_lora: {{steps: {STEPS}, batch: 4, micro: 2}}}}
limit: 24
"""


@dataclass(frozen=True)
class Training:
    """A clone of the project with one training in it."""

    work: Workflow
    adapter: str
    cell: str

    @property
    def home(self) -> Path:
        return self.work.folder / "results/adapters" / self.adapter

    @property
    def undisturbed(self) -> Path:
        """Where it ends that is trained here, without Slurm and Snakemake."""
        return self.work.folder / "alone/adapters" / self.adapter

    @property
    def steps(self) -> list[int]:
        """Steps written down so far, while it trains."""
        return steps(self.work.folder / "results/tuning" / self.adapter / "metrics.jsonl")


def steps(metrics: Path) -> list[int]:
    lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True) if metrics.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("\n")]


@pytest.fixture(scope="module")
def preempted(
    cluster: PrivateCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Training, Run]]:
    """The literal command for one training; once it has made three steps, an urgent job takes its node. The same
    training runs beside it, undisturbed."""
    folder = clone(tmp_path_factory.mktemp("tuning") / "clone")
    (folder / "conf/study/preempted.yaml").write_text(STUDY, encoding="utf-8")
    (row,) = [r for r in make(folder, folder / "results", "preempted", {}).rows if not r["support"]]
    training = Training(Workflow(folder, cluster.conf), row["adapters"][0]["id"], row["id"])
    target = str((training.home / "weights.safetensors").relative_to(folder))
    where = ("--set-resources", "tune:slurm_partition=graceful")
    quick = ("--seconds-between-status-checks", "2", "--submitit-keep-logs", "--retries", "0")
    config = ("--config", "study=preempted")
    run = training.work.literally("snakemake", "--profile", "slurm", target, *config, *where, *quick)
    other: list[subprocess.Popen[bytes]] = []
    try:
        run.wait_until(lambda: len(training.steps) >= 3, lambda: f"steps {training.steps}")
        (node,) = cluster.client("squeue", "-h", "-p", "graceful", "-t", "RUNNING", "-o", "%N").split()
        whole = ("-w", node, "--exclusive", "-p", "urgent", "-o", "/dev/null")
        cluster.client("sbatch", *whole, "--wrap", "sleep 3")
        other.append(alone(training))
        run.wait(1000)
        assert other[0].wait(1000) == 0
        yield training, run
    finally:
        for process in other:
            process.kill()
        end(cluster, [training.work])


def alone(training: Training) -> subprocess.Popen[bytes]:
    """By hand, into a results folder of its own, on the data that the workflow made."""
    folder = training.work.folder
    (folder / "alone").mkdir()
    (folder / "alone/made").symlink_to(folder / "results/made")
    cell = folder / "results/cells" / training.cell / "cell.yaml"
    return subprocess.Popen(
        [sys.executable, "-m", "prunegrid", "--results", "alone", "tune", str(cell), "--device", "cpu"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
    )


def test_it_saves_is_requeued_and_goes_on(preempted: tuple[Training, Run]) -> None:
    """One submission, two starts; the second begins where the first was stopped, and no step is done twice."""
    training, run = preempted
    run.check()
    assert len(re.findall(r"is slurm job \S+ \(tune-", run.output)) == 1
    said = [path.read_text() for path in (training.work.folder / ".snakemake/submitit").rglob("*_log.*")]
    assert any("restart 0" in text for text in said) and any("restart 1" in text for text in said)
    logs = training.work.folder / "logs/tune"
    first, second = (
        [int(done) for done in re.findall(rf"\b(\d+)/{STEPS}\b", (logs / name).read_text())]
        for name in (f"{training.adapter}.log.attempt1", f"{training.adapter}.log")
    )
    assert first[0] == 0 and 3 <= first[-1] < STEPS, "stopped on its way"
    assert 3 <= second[0] < STEPS and second[-1] == STEPS, "it did not begin anew"
    assert steps(training.home / "metrics.jsonl") == list(range(1, STEPS + 1))


def test_its_weights_are_those_of_a_run_that_nobody_disturbed(preempted: tuple[Training, Run]) -> None:
    """Bit by bit."""
    training = preempted[0]
    assert steps(training.undisturbed / "metrics.jsonl") == list(range(1, STEPS + 1))
    for name in ("weights.safetensors", "faults.json"):
        assert (training.undisturbed / name).read_bytes() == (training.home / name).read_bytes()
