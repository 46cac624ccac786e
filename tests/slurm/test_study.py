"""The project itself on a real Slurm: `snakemake --profile slurm`, and the same study on this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import end
from .private_cluster import PrivateCluster
from .workflow import ROOT, Run, Workflow

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(1500),
    pytest.mark.parametrize("cluster", ["accounting"], indirect=True, scope="session"),
]
PATIENCE_S = 1400
ON_CLUSTER = ("predict", "score", "cost", "compare")
SAME = (
    "results/predictions/*/records.jsonl",
    "results/predictions/*/trace.jsonl",
    "results/cells/*/score.json",
)


def clone(folder: Path) -> Path:
    """The project's files in a folder of their own, as a fresh clone has them."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.exists():
            target.write_bytes(source.read_bytes())
    subprocess.run(["git", "-C", str(folder), "init", "-q"], check=True, timeout=60)
    return folder


@pytest.fixture(scope="module")
def study(
    cluster: PrivateCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Workflow, Run]]:
    """The study smoke, run by the literal command; the environment alone asks for logs and quick polling."""
    work = Workflow(clone(tmp_path_factory.mktemp("study") / "clone"), cluster.conf)
    quick = ("--seconds-between-status-checks", "2", "--submitit-keep-logs")
    run = work.literally("snakemake", "--profile", "slurm", "--config", "study=smoke", *quick)
    run.wait(PATIENCE_S)
    yield work, run
    end(cluster, [work])


def slurm_jobs(run: Run) -> dict[str, list[str]]:
    """Rule -> Slurm ids of its jobs."""
    found: dict[str, list[str]] = {}
    for job_id, rule in re.findall(r"is slurm job (\S+) \((\w+)-", run.output):
        found.setdefault(rule, []).append(job_id)
    return found


def test_the_study_comes_home_with_every_result(study: tuple[Workflow, Run]) -> None:
    work, run = study
    run.check()
    assert (work.folder / "results/studies/smoke/index.html").exists()
    plan = json.loads((work.folder / "results/plan/smoke.json").read_text(encoding="utf-8"))
    shown = [row["id"] for row in plan["cells"] if not row["support"]]
    assert len(shown) == 6
    assert all((work.folder / f"results/tracked/smoke/{cell}.json").exists() for cell in shown)


def test_the_work_is_done_on_nodes_and_only_the_rest_beside_snakemake(study: tuple[Workflow, Run]) -> None:
    run = study[1]
    assert set(slurm_jobs(run)) == set(ON_CLUSTER)
    assert len(set(run.job_ids)) == len(run.job_ids)


def test_predictions_go_out_as_arrays(study: tuple[Workflow, Run]) -> None:
    ids = slurm_jobs(study[1])["predict"]
    together = Counter(job_id.split("_")[0] for job_id in ids)
    assert len(ids) == 8 and max(together.values()) >= 6  # two take their budget from another's trace


def test_every_prediction_has_a_node_and_its_gpu(study: tuple[Workflow, Run]) -> None:
    work, run = study
    logs = "".join(path.read_text() for path in (work.folder / ".snakemake/submitit").rglob("*_log.out"))
    for job_id in slurm_jobs(run)["predict"]:
        assert re.search(rf"job {job_id} on n\d, GPU 0, restart 0", logs), job_id


def test_predictions_and_scores_are_those_of_a_local_run(
    study: tuple[Workflow, Run], tmp_path_factory: pytest.TempPathFactory
) -> None:
    work = study[0]
    local = clone(tmp_path_factory.mktemp("local") / "clone")
    files = sorted(path.relative_to(work.folder) for pattern in SAME for path in work.folder.glob(pattern))
    assert len(files) >= 3 * 6
    scores = [str(path) for path in files if path.name == "score.json"]
    command = [sys.executable, "-m", "snakemake", "--profile", "workflow/profiles/ci", *scores]
    done = subprocess.run(
        [*command, "--config", "study=smoke"],
        cwd=local,
        env={**os.environ, "PYTHONPATH": str(local / "src")},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    different = [path for path in files if (local / path).read_bytes() != (work.folder / path).read_bytes()]
    assert different == []


def test_a_model_that_needs_cuda_fails_in_seconds_without_it(study: tuple[Workflow, Run]) -> None:
    work = study[0]
    prediction = next((work.folder / "results/predictions").glob("*-none-*"))
    target = str((prediction / "records.jsonl").relative_to(work.folder))
    run = work.start("--config", "study=smoke", "device=cuda", "--force", target)
    run.wait()
    run.check(1)
    assert re.search(r"exited with status 1 on n\d, CUDA_VISIBLE_DEVICES=0, nvidia-smi", run.output)
    assert re.search(r"no (usable )?GPU|CUDA|NVIDIA", run.output.replace("CUDA_VISIBLE_DEVICES", ""))
