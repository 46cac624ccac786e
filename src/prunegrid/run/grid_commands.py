"""The commands that people type: ls, show, plan, rerun, accept."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from prunegrid.grid import tuning
from prunegrid.grid.errors import GridError, unknown
from prunegrid.grid.plan import draft, look, make
from prunegrid.run.files import read_cell, read_json
from prunegrid.run.named import find
from prunegrid.run.stages import STORE
from prunegrid.run.state import states


def add(commands: Any) -> None:
    """Add the grid commands to the parser."""
    plan = _study(commands, "plan", _plan, "write a study's cells")
    plan.add_argument("--json", action="store_true")
    plan.add_argument("--model", help="instead of the study's models")
    plan.add_argument("--hardware", help="estimate the hours on it: a file of conf/hardware")
    ls = _study(commands, "ls", _ls, "list a study's cells with their state")
    ls.add_argument("--json", action="store_true", help="machine-readable")
    show = commands.add_parser("show", help="configuration, provenance, scores and paths of a cell")
    show.add_argument("cell", help="a cell id, or the beginning of one")
    show.set_defaults(run=_show)
    rerun = commands.add_parser("rerun", help="compute one cell again and print old -> new")
    rerun.add_argument("cell", help="a cell id, or the beginning of one")
    rerun.add_argument("--profile", default="workflow/profiles/local", help="Snakemake profile to run it")
    rerun.add_argument("--study", default=None, help="a study that holds it (default: found)")
    rerun.add_argument(
        "--store", help=f"where MLflow keeps its runs (default: as the profile says, or {STORE})"
    )
    rerun.set_defaults(run=_rerun)
    accept = commands.add_parser("accept", help="declare that a change of code changed no result of a cell")
    accept.add_argument("cell", help="a cell id, or the beginning of one; or the id of a finished tuning")
    accept.set_defaults(run=_accept)
    table = commands.add_parser("cost-table", help="a published cost table beside our own figures")
    table.add_argument("name", nargs="?", help="which; none lists them")
    table.add_argument("--json", action="store_true")
    table.set_defaults(run=_cost_table)


def _study(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    command.add_argument("study", nargs="?", default="demo")
    command.add_argument("--limit", type=int, help="first questions of each task only")
    command.set_defaults(run=run)
    return command


def _plan(arguments: argparse.Namespace) -> None:
    """With --hardware an estimate, also of what cannot run yet, and nothing is written."""
    if arguments.hardware:
        _estimate(arguments)
        return
    chosen = {"model": arguments.model, "limit": arguments.limit}
    choose = {k: v for k, v in chosen.items() if v is not None}
    rows = make(arguments.root, arguments.results, arguments.study, choose).rows
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    predictions = {row["prediction"] for row in rows}
    print(
        f"{arguments.study}: {len(rows)} cells, {len(predictions)} predictions; written to {arguments.results}/cells"
    )


def _estimate(arguments: argparse.Namespace) -> None:
    from prunegrid.run.estimate import estimate

    chosen = {"model": arguments.model, "limit": arguments.limit}
    choose = {k: v for k, v in chosen.items() if v is not None}
    plan = draft(arguments.root, arguments.results, arguments.study, choose)
    if plan.unsupported:
        print(f"{arguments.study}: unsupported: {plan.unsupported}")
        return
    found = estimate(plan, arguments.root, arguments.hardware)
    if arguments.json:
        print(json.dumps({**asdict(found), "absent": plan.absent}, indent=1))
        return
    print(f"{arguments.study}: {plan.title}", *found.lines(), sep="\n  ")
    if plan.absent:
        print(f"  to add first: {', '.join(plan.absent)}")


def _ls(arguments: argparse.Namespace) -> None:
    choose = {} if arguments.limit is None else {"limit": arguments.limit}
    rows = look(arguments.root, arguments.results, arguments.study, choose).rows
    now = states(arguments.results, rows)
    listed = [
        {k: row[k] for k in ("id", "row", "column", "seed", "support")}
        | {"state": now[row["id"]].name, "why": now[row["id"]].why}
        for row in rows
    ]
    if arguments.json:
        print(json.dumps(listed, indent=1))
        return
    width = max(len(r["id"]) for r in listed)
    for r in listed:
        print(f"{r['state']:8} {r['id']:{width}}  {r['row']} | {r['column']}{'  (compared with)' if r['support'] else ''}"
              f"{'  ' + r['why'] if r['why'] else ''}")  # fmt: skip
    counts = {
        name: sum(r["state"] == name for r in listed) for name in ("done", "missing", "stale", "failed")
    }
    print(", ".join(f"{n} {name}" for name, n in counts.items() if n) + f"; {len(listed)} in all")


def _show(arguments: argparse.Namespace) -> None:
    cell = find(arguments.results, arguments.cell)
    folder = arguments.results / "cells" / cell
    made = read_cell(folder / "cell.yaml").to_dict()
    prediction = arguments.results / "predictions" / made["prediction"]
    print(yaml.safe_dump(made, sort_keys=False).rstrip())
    for title, file in (
        ("failed", prediction / "failed.json"),
        ("failed", folder / "failed.json"),
        ("score", folder / "score.json"),
        ("beside its twins", folder / "paired.json"),
        ("cost", folder / "cost.json"),
        ("provenance", prediction / "provenance.json"),
    ):
        if file.exists():
            found = read_json(file, "")
            found.pop("cell", None)
            print(f"\n# {title}: {file}\n{yaml.safe_dump(found, sort_keys=False).rstrip()}")


def score_of(results: Path, cell: str) -> str:
    """A cell's headline score, or `none`."""
    file = results / "cells" / cell / "score.json"
    if not file.exists():
        return "none"
    made = read_json(file, "")
    return f"{made['primary']} {made['metrics'][made['primary']]:.4f}"


def _rerun(arguments: argparse.Namespace) -> int:
    """Force the cell's prediction through the same DAG, on to its MLflow runs and pages, and nothing else."""
    from prunegrid.run.wrapup import is_behind, refresh

    cell = find(arguments.results, arguments.cell)
    study = arguments.study or _study_of(arguments.results, cell)
    plan = read_json(arguments.results / "plan" / f"{study}.json", f"run `prunegrid plan {study}`")
    row = next((r for r in plan["cells"] if r["id"] == cell), None)
    if row is None:
        raise unknown("cell", cell, (r["id"] for r in plan["cells"]), f"the study {study}")
    others = {f.parent.name for f in (arguments.results / "tracked").glob(f"*/{cell}.json")} - {study}
    tracked = [f"results/tracked/{name}/{cell}.json" for name in (study, *sorted(others))]
    made = read_cell(arguments.results / "cells" / cell / "cell.yaml").to_dict()
    before, records = score_of(arguments.results, cell), f"predictions/{made['prediction']}/records.jsonl"
    kept = _keep_old(arguments.results / "predictions" / made["prediction"])
    # As when the study was planned.
    chosen = [f"{key}={value}" for key, value in plan.get("choose", {}).items()]
    chosen += [f"mlflow={arguments.store}"] if arguments.store else []
    command = [
        sys.executable, "-m", "snakemake", "--directory", str(arguments.root), "--snakefile",
        str(arguments.root / "Snakefile"), "--profile", arguments.profile,
        "--config", f"study={study}", *chosen, "--forcerun", f"results/{records}", "--",
        *([f"results/cells/{cell}/score.json"] if row["support"] else tracked),
    ]  # fmt: skip
    print(" ".join(command), flush=True)
    code = subprocess.run(command, check=False).returncode
    for name in others:  # the study itself is brought up to date by the run's end
        if is_behind(arguments.results, name):
            refresh(arguments.results, name, arguments.store or STORE)
    if code:
        where = f", the answers are kept in {kept}" if kept else ""
        print(f"{cell}: NOT computed again, Snakemake ended with {code}. It was {before}{where}")
    else:
        print(f"{cell}: {before} -> {score_of(arguments.results, cell)}")
    return code


def _study_of(results: Path, cell: str) -> str:
    for file in sorted((results / "plan").glob("*.json")):
        if any(row["id"] == cell for row in json.loads(file.read_text(encoding="utf-8"))["cells"]):
            return file.stem
    raise GridError(f"no planned study holds {cell}; name one with --study")


def _keep_old(prediction: Path) -> Path | None:
    """Copy the finished prediction aside: Snakemake deletes outputs before it makes them anew. Where to; None if there
    is none."""
    if not (prediction / "records.jsonl").exists():
        return None
    old = prediction / "old"
    number = len(list(old.glob("*"))) + 1 if old.exists() else 1
    target = old / f"{number:03d}"
    target.mkdir(parents=True)
    for name in ("records.jsonl", "trace.jsonl", "provenance.json", "timing.json"):
        if (prediction / name).exists():
            shutil.copy2(prediction / name, target / name)
    return target


def _accept(arguments: argparse.Namespace) -> None:
    """Map the current code hash of a cell to the one that its results were made with (conf/accepted.yaml)."""
    tuned = arguments.results / "adapters" / arguments.cell / "provenance.json"
    if tuned.exists():
        made = read_json(tuned, "")
        _blessed(arguments.root, arguments.cell, tuning.code_of(made["tuning"]["reducer"]), made["code"])
        return
    cell = find(arguments.results, arguments.cell)
    study = _study_of(arguments.results, cell)
    chosen = read_json(arguments.results / "plan" / f"{study}.json", "").get("choose")
    rows = look(arguments.root, arguments.results, study, chosen).rows
    row = next((r for r in rows if r["id"] == cell), None)
    if row is None:
        raise GridError(
            f"{cell} is no cell of {study} any more: its configuration or data changed, not its code alone; "
            f"`prunegrid ls {study}` shows what stands in its place"
        )
    made = read_json(
        arguments.results / "predictions" / row["prediction"] / "provenance.json", "nothing to accept yet"
    )
    _blessed(arguments.root, cell, row["code"], made["code"])


def _blessed(root: Path, what: str, now: str, before: str) -> None:
    """Write that code `now` counts as `before`."""
    if now == before:
        print(f"{what}: its code is the one that its results were made with")
        return
    file = root / "conf" / "accepted.yaml"
    known = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}) if file.exists() else {}
    known[now] = before
    head = "# Code hashes declared equal in results to earlier ones: new -> old (`prunegrid accept`).\n"
    file.write_text(head + yaml.safe_dump(known), encoding="utf-8")
    print(f"{file}: {now} counts as {before}")


def _cost_table(arguments: argparse.Namespace) -> None:
    from prunegrid.cost import tables

    if not arguments.name:
        print("\n".join(tables.names()))
        return
    if arguments.name not in tables.names():
        raise unknown("cost table", arguments.name, tables.names(), "cost-table")
    print(tables.render(arguments.name, arguments.json))
