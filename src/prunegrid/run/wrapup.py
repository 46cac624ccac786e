"""The end of a run: the table, every failed cell with its reason and the command that repeats it, where to look."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from prunegrid.run.files import read_json
from prunegrid.run.state import states


def wrap_up(root: Path, results: Path, study: str, store: str) -> int:
    """Track what failed, write the report of what is there, print the table. 1 if a cell failed."""
    plan = results / "plan" / f"{study}.json"
    rows: list[dict[str, Any]] = read_json(plan, f"run `prunegrid plan {study}`")["cells"]
    now = states(results, rows)
    failed = [row for row in rows if now[row["id"]].name == "failed"]
    for row in failed:
        _module("prunegrid.track", "cell", results, study, "--store", store, "--cell", row["id"])
    unfinished = [row for row in rows if now[row["id"]].name != "done" and not row["support"]]
    if unfinished or is_behind(results, study):  # the rule `study` did not run: the page says "n of m"
        refresh(results, study, store)
    _module("prunegrid.report", "text", results, study)
    for row in failed:
        _print_failure(results, row)
    shown = [row for row in rows if not row["support"]]
    done = sum(now[row["id"]].name == "done" for row in shown)
    print(f"\n{done} of {len(shown)} cells done.  Report: {results / 'studies' / study / 'index.html'}")
    print(f"Dashboard: {Path(sys.executable).with_name('mlflow')} ui --backend-store-uri {store}")
    return 1 if failed else 0


def is_behind(results: Path, study: str) -> bool:
    """A cell was tracked after the study's page was written."""
    page = results / "studies" / study / "index.html"
    tracked = [f.stat().st_mtime_ns for f in (results / "tracked" / study).glob("*.json")]
    return page.exists() and page.stat().st_mtime_ns < max(tracked, default=0)


def refresh(results: Path, study: str, store: str) -> None:
    """Write the study's page anew and track the study."""
    page = str(results / "studies" / study)
    _module("prunegrid.report", "study", results, study, "--out", page)
    _module("prunegrid.track", "study", results, study, "--store", store, "--page", page)


def _module(module: str, verb: str, results: Path, study: str, *more: str) -> None:
    start = [sys.executable, "-m", "prunegrid.warm", module]
    command = [*start, verb, "--results", str(results), "--study", study, *more]
    subprocess.run(command, check=False)


def _print_failure(results: Path, row: dict[str, Any]) -> None:
    for folder in (results / "predictions" / row["prediction"], results / "cells" / row["id"]):
        if (folder / "failed.json").exists():
            made = read_json(folder / "failed.json", "")
            print(
                f"\nFAILED {row['id']} ({row['row']} | {row['column']}) in {made['stage']}: {made['reason']}"
            )
            print(f"  log:   {made['log']}\n  again: {made['rerun']}")
