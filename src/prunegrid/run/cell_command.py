"""The command `cell`: one cell by hydra overrides, through the same DAG as every study's."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from prunegrid.grid import adhoc
from prunegrid.grid.atomic import write_changed
from prunegrid.grid.plan import Plan, look_at, make
from prunegrid.run.grid_commands import score_of
from prunegrid.run.stages import STORE
from prunegrid.run.state import states


def add(commands: Any) -> None:
    """Add the command to the parser."""
    cell = commands.add_parser("cell", help="run one cell that stands in no study, given by hydra overrides")
    cell.add_argument(
        "overrides",
        nargs="+",
        help="GROUP=NAME GROUP.OPTION=VALUE seed=N limit=N: reducer=ivtp reducer.tau=0.15",
    )
    cell.add_argument("--profile", default="workflow/profiles/local", help="Snakemake profile to run it with")
    cell.add_argument(
        "--store", help=f"where MLflow keeps its runs (default: as the profile says, or {STORE})"
    )
    cell.add_argument("--dry-run", action="store_true", help="say what would run, run nothing")
    cell.set_defaults(run=_cell)


def given(root: Path, results: Path, words: list[str]) -> str:
    """Put a cell into the study of cells given by hand, plan that; returns the cell's id. Raises GridError before
    anything is written if the words are no cell."""
    plan = alone(root, results, words, keep=True)
    study = yaml.safe_dump(adhoc.document(results, adhoc.point(words)), sort_keys=False)
    write_changed(adhoc.file(results), study)
    make(root, results, adhoc.NAME)
    return str(plan.rows[0]["id"])


def alone(root: Path, results: Path, words: list[str], keep: bool = False) -> Plan:
    """The plan of one cell, it first, then what it is compared with. No cell is written. Raises GridError."""
    return look_at(root, results, adhoc.alone(adhoc.point(words), " ".join(words)), keep)


def _dry(arguments: argparse.Namespace) -> int:
    """Which of the cell and its twins have something left to compute; nothing is written."""
    rows = alone(arguments.root, arguments.results, arguments.overrides).rows
    found = states(arguments.results, rows)
    for row in rows:
        now = found[row["id"]]
        line = f"{'nothing to do' if now.name == 'done' else 'would run':13}  {row['id']}  {now.name}"
        print(f"{line}{': ' + now.why if now.why else ''}{'  (compared with)' if row['support'] else ''}")
    return 0


def _cell(arguments: argparse.Namespace) -> int:
    from prunegrid.run.wrapup import refresh

    if arguments.dry_run:
        return _dry(arguments)
    results = arguments.results
    cell = given(arguments.root, results, arguments.overrides)
    command = [
        sys.executable, "-m", "snakemake", "--directory", str(arguments.root), "--snakefile",
        str(arguments.root / "Snakefile"), "--profile", arguments.profile,
        "--config", f"study={adhoc.NAME}", *([f"mlflow={arguments.store}"] if arguments.store else []), "--",
        f"results/tracked/{adhoc.NAME}/{cell}.json",
    ]  # fmt: skip
    print(" ".join(command), flush=True)
    code = subprocess.run(command, check=False).returncode
    if not (results / "studies" / adhoc.NAME / "index.html").exists():  # later ones are the run's end's
        refresh(results, adhoc.NAME, arguments.store or STORE)
    print(f"{cell}: {f'NOT computed, Snakemake ended with {code}' if code else score_of(results, cell)}")
    return code
