"""`prunegrid compare CELL CELL`: two scored cells of one benchmark, question by question."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prunegrid.grid.cell import Cell
from prunegrid.run import build
from prunegrid.run.compare import counts_of
from prunegrid.run.files import Files, ResultError, read_cell, read_json, read_jsonl
from prunegrid.run.named import cell_file
from prunegrid.run.paired import compared
from prunegrid.stats.bootstrap import REPLICATES
from prunegrid.stats.retention import retention
from prunegrid.tasks import Task

MIXABLE = {"hardware": "GPUs", "dtype": "dtypes", "batch_size": "batch sizes"}


@dataclass(frozen=True)
class Side:
    """A scored cell: judged answers, cluster names, sufficient statistics, and what it ran on."""

    cell: Cell
    judged: list[dict[str, Any]]
    clusters: list[str]
    counts: np.ndarray
    ran: Mapping[str, Any]


def versus(results: Path, first: str, second: str, *, as_json: bool) -> int:
    """Print the first cell minus the second: every metric, the exact test, retention, power."""
    ours, theirs = side(results, first), side(results, second)
    if ours.cell.task["name"] != theirs.cell.task["name"] or ours.cell.version != theirs.cell.version:
        named = " and ".join(f"{s.cell.task['name']} (scorer {s.cell.version})" for s in (ours, theirs))
        raise ResultError(f"two cells of one benchmark and scorer are needed, not {named}")
    task = build.task(ours.cell)
    found = compared(task, ours, theirs, REPLICATES, 0)
    kept = retention(ours.counts, theirs.counts[_order(ours, theirs)], task.metric)[task.primary]
    report = {
        "first": ours.cell.id(),
        "second": theirs.cell.id(),
        "task": ours.cell.task["name"],
        "primary": task.primary,
        **found,
        "retention": kept.to_dict(),
        "warnings": mixed(ours.ran, theirs.ran),
    }
    print(json.dumps(report, indent=1, allow_nan=False) if as_json else shown(report, task))
    return 0


def side(results: Path, name: str) -> Side:
    """A cell by its id, the beginning of one, or the path of its cell.yaml."""
    cell = read_cell(cell_file(results, name))
    files = Files.of(results, cell)
    remedy = f"run `prunegrid rerun {files.cell_id}`"
    judged = list(read_jsonl(files.cell / "judged.jsonl", remedy))
    clusters, counts = counts_of(results, files.cell_id)
    return Side(cell, judged, clusters, counts, read_json(files.provenance, remedy))


def _order(ours: Side, theirs: Side) -> list[int]:
    place = {name: row for row, name in enumerate(theirs.clusters)}
    return [place[name] for name in ours.clusters]


def mixed(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """A warning for each of hardware, dtype and batch size in which the two differ."""
    return [
        f"the cells mix {name} ({first[key]}, {second[key]}); a few answers may differ for that reason alone"
        for key, name in MIXABLE.items()
        if key in first and key in second and first[key] != second[key]
    ]


def shown(report: Mapping[str, Any], task: Task) -> str:
    """The report for people; metrics as they are, the headline in the unit of the tables."""
    lines = [f"{report['first']} minus {report['second']} ({report['power']['n']} questions, paired)"]
    for name, d in report["difference"].items():
        ends = "not bounded" if d["low"] is None else f"[{d['low']:+.4f}, {d['high']:+.4f}]"
        head = "  <- headline" if name == task.primary else ""
        lines.append(f"  {name:24} {d['value']:+.4f}  {ends}  p = {d['p']:.4g}{head}")
    kept = report["retention"]
    if kept["value"] is not None:
        ends = "not bounded" if kept["low"] is None else f"[{kept['low']:.4f}, {kept['high']:.4f}]"
        lines.append(f"retention of {task.primary}: {kept['value']:.4f}  {ends}")
    if report["mcnemar"]:
        m = report["mcnemar"]
        lines.append(f"McNemar, exact: {m['only_ours']} against {m['only_theirs']}, p = {m['p']:.4g}")
    lines.append(f"smallest difference that these questions show: {report['power']['text']}")
    return "\n".join([*lines, *(f"warning: {text}" for text in report["warnings"])])
