"""The smallest study through the real workflow, on the shipped model: dry run, run, and nothing left to do."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from .project import clone, run, snakemake

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone(tmp_path_factory.mktemp("project") / "copy")


def test_the_demo_can_be_planned_and_dry_run(copy: Path) -> None:
    run = snakemake(copy, "--dry-run", "--config", "study=demo")
    assert run.returncode == 0, run.stderr[-3000:]
    assert "predict" in run.stdout + run.stderr
    made = {file.parent for file in (copy / "results").rglob("*") if file.is_file()}
    assert made == {copy / "results" / "plan" / "cache"}, "a dry run leaves what it worked out, nothing else"
    tracking = re.search(r"^track +(\d+)$", run.stdout + run.stderr, flags=re.MULTILINE)
    assert tracking and int(tracking[1]) == 3, "41 cells are tracked by three processes"
    turns = [int(turn) for turn in re.findall(r"priority: -(\d+)", run.stdout + run.stderr)]
    assert sorted(turns) == list(range(1, len(turns) + 1)), "predictions take their turns in the plan's order"


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


def test_a_new_scorer_judges_again_and_predicts_nothing(copy: Path, tmp_path: Path) -> None:
    """The cell that stands for a prediction has another id then; the prediction is the same."""
    assert snakemake(copy, "--config", "study=smoke").returncode == 0
    before = json.loads((copy / "results" / "plan" / "smoke.json").read_text(encoding="utf-8"))["cells"]
    changed = shutil.copytree(copy, tmp_path / "copy", symlinks=True)
    for target in {row["task"]["_target_"] for row in before}:
        module = changed / "src" / Path(*target.split(".")[:-1]).with_suffix(".py")
        text, bumped = re.subn(
            r"^(    version\b.*= \")", r"\1new-", module.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        assert bumped
        module.write_text(text, encoding="utf-8")
    said = snakemake(changed, "--dry-run", "--config", "study=smoke")
    assert said.returncode == 0, said.stderr[-3000:]
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", said.stdout + said.stderr, flags=re.MULTILINE))
    assert jobs.get("score") == str(len({row["id"] for row in before}))
    assert "predict" not in jobs


SHOWN = """
import json, sys
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        exec("".join(cell["source"]))
"""


@pytest.mark.parametrize("name", ["01_one_sample", "02_where_tokens_go", "03_study"])
def test_the_notebooks_run_on_its_results(copy: Path, name: str) -> None:
    made = snakemake(copy, "--config", "study=smoke")
    assert made.returncode == 0, (made.stdout + made.stderr)[-4000:]
    before = sorted(file for file in (copy / "results").rglob("*") if file.is_file())
    asked = [sys.executable, "-c", SHOWN, f"{name}.ipynb"]
    shown = run(copy / "notebooks", asked, PRUNEGRID_STUDY="smoke", PYTHONPATH=str(copy / "src"))
    assert shown.returncode == 0, shown.stderr[-4000:]
    assert "prumerge" in shown.stdout
    assert before == sorted(file for file in (copy / "results").rglob("*") if file.is_file()), (
        "they read, and write nothing"
    )
