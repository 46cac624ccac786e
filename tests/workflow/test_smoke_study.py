"""The smallest study through the real workflow, on the shipped model: dry run, run, and nothing left to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's files in a folder of their own, data fetched by the workflow itself."""
    folder = tmp_path_factory.mktemp("project") / "copy"
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.exists():
            target.write_bytes(source.read_bytes())
    subprocess.run(["git", "-C", str(folder), "init", "-q"], check=True)
    return folder


def snakemake(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--profile", "workflow/profiles/ci", *words]
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )


def test_the_demo_can_be_planned_and_dry_run(copy: Path) -> None:
    run = snakemake(copy, "--dry-run", "--config", "study=demo")
    assert run.returncode == 0, run.stderr[-3000:]
    assert "predict" in run.stdout + run.stderr


def test_an_unknown_study_is_one_clear_error(copy: Path) -> None:
    run = snakemake(copy, "--dry-run", "--config", "study=dema")
    assert run.returncode != 0
    said = run.stdout + run.stderr
    assert "unknown study 'dema'" in said
    assert "'demo'" in said


def test_a_study_runs_to_its_page_and_a_second_run_does_nothing(copy: Path) -> None:
    run = snakemake(copy, "--config", "study=smoke")
    assert run.returncode == 0, (run.stdout + run.stderr)[-4000:]
    page = copy / "results" / "studies" / "smoke" / "index.html"
    assert page.exists()
    plan = json.loads((copy / "results" / "plan" / "smoke.json").read_text(encoding="utf-8"))
    shown = [row["id"] for row in plan["cells"] if not row["support"]]
    assert all((copy / "results" / "tracked" / "smoke" / f"{cell}.json").exists() for cell in shown)
    before = {p: p.stat().st_mtime_ns for p in (copy / "results" / "predictions").rglob("*.jsonl")}
    again = snakemake(copy, "--config", "study=smoke")
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout + again.stderr
    assert before == {p: p.stat().st_mtime_ns for p in (copy / "results" / "predictions").rglob("*.jsonl")}
