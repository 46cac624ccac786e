"""Snakemake looks for jobs to start when one has ended, not again and again for each that ever has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PACE = Path(__file__).parents[2] / "workflow" / "rules" / "pace.smk"
JOBS = 30
SNAKEFILE = f"""
include: {str(PACE)!r}

onstart:
    look_when_jobs_end()

rule all:
    input: expand("{{n}}.txt", n=range({JOBS}))

rule one:
    output: "{{n}}.txt"
    shell: "sleep 0.2; touch {{output}}"
"""


def looks(folder: Path, *more: str) -> int:
    (folder / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--scheduler", "greedy", "--verbose", *more]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0 and len(list(folder.glob("*.txt"))) == JOBS, run.stderr[-2000:]
    return run.stderr.count("Resources before job selection")


def test_it_looks_once_for_each_job_that_ends(tmp_path: Path) -> None:
    assert looks(tmp_path) <= JOBS + 1


def test_a_limit_of_the_users_own_stays(tmp_path: Path) -> None:
    assert looks(tmp_path, "--max-jobs-per-timespan", "200/1s") > JOBS + 1
