"""`prunegrid score-file`: the score of a prediction file that somebody else wrote, every number with its interval."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prunegrid.run.arguments import at_least, whole
from prunegrid.run.files import write_text
from prunegrid.tasks import Task, TaskError


@dataclass(frozen=True)
class Scored:
    """Judged answers of a file: cluster names, sufficient statistics [clusters, c], and what was said of them."""

    task: Task
    judged: list[dict[str, Any]]
    clusters: list[str]
    counts: np.ndarray
    report: dict[str, Any]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    text = "score a prediction file in the layout of LLaVA's repository or of the benchmark"
    command = commands.add_parser("score-file", help=text, description=text)
    command.add_argument("task", help="pope, mme, sqa_img, ...")
    command.add_argument("answers", nargs="+", type=Path, help="answer files; reviews or grades of a judge")
    command.add_argument("--annotations", nargs="+", type=Path, default=[], help="the benchmark's own files")
    command.add_argument(
        "--mode", choices=["official", "strict"], default="official", help="whose rules for reading an answer"
    )
    command.add_argument("--json", action="store_true", help="every number unrounded, machine-readable")
    command.add_argument("--missing", choices=["error", "skip"], default="error", help="unanswered questions")
    command.add_argument(
        "--unknown", choices=["error", "skip"], default="error", help="answers to no question"
    )
    command.add_argument("--judgements", type=Path, help="what `prunegrid judge` stored about these answers")
    command.add_argument(
        "--against", nargs="+", type=Path, default=[], help="other answers to the same questions"
    )
    command.add_argument("--upload", type=Path, help="write the file that the benchmark's server wants")
    command.add_argument("--replicates", type=whole, default=10_000, help="of the bootstrap")
    command.add_argument("--seed", type=at_least(0), default=0, help="of the bootstrap")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Score, compare where asked, write the upload file where asked, print."""
    scored = score(arguments, arguments.answers)
    report = scored.report
    if arguments.against:
        from prunegrid.run.paired import compared

        other = score(arguments, arguments.against)
        found = compared(scored.task, scored, other, arguments.replicates, arguments.seed)
        report["against"] = {"answers": [str(p) for p in arguments.against], **found}
    print(
        json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) if arguments.json else shown(report)
    )
    return 0


def score(arguments: argparse.Namespace, answers: list[Path]) -> Scored:
    """Read, judge and count. TaskError for anything that cannot be scored."""
    from prunegrid.tasks.layouts import read
    from prunegrid.tasks.layouts.answered import settle

    answered = read(arguments.task, answers, arguments.annotations)
    if arguments.judgements:
        from prunegrid.tasks.judging.store import judged_by

        answered = judged_by(arguments.task, answered, arguments.judgements)
    uploaded = _upload(arguments, answered)
    report: dict[str, Any] = {
        "task": arguments.task,
        "task_version": answered.task.version,
        "mode": arguments.mode,
        "answers": [str(path) for path in answers],
        "annotations": [str(path) for path in arguments.annotations],
        "missing": len(answered.missing),
        "unknown": len(answered.unknown),
        "empty": answered.empty,
        "notes": list(answered.notes),
        **uploaded,
    }
    if not answered.records and answered.upload is not None:
        return Scored(answered.task, [], [], np.zeros((0, 0)), {**report, "n": 0, "metrics": {}})
    settle(answered, missing=arguments.missing, unknown=arguments.unknown)
    task = answered.task
    judged = [task.judge(record, arguments.mode) for record in answered.records]
    clusters, counts = task.counts(judged)
    report |= _numbers(arguments, task, counts, len(judged))
    return Scored(task, judged, clusters, counts, report | {"n": len(judged), "clusters": len(clusters)})


def _upload(arguments: argparse.Namespace, answered: Any) -> dict[str, Any]:
    if not arguments.upload:
        return {}
    if answered.upload is None:
        reason = f"{len(answered.missing)} answers are missing" if answered.missing else "this task has none"
        raise TaskError(f"no upload file can be written: {reason}")
    write_text(arguments.upload, json.dumps(answered.upload))
    return {"upload": str(arguments.upload), "uploaded": len(answered.upload)}


def _numbers(arguments: argparse.Namespace, task: Task, counts: np.ndarray, questions: int) -> dict[str, Any]:
    """Every metric as it is, and every definition of a printed number in the unit of the tables."""
    from prunegrid.stats.bootstrap import bootstrap
    from prunegrid.tasks.definitions import definitions

    found = bootstrap(counts, task.metric, replicates=arguments.replicates, seed=arguments.seed)
    metrics = {name: interval.to_dict() for name, interval in found.items()}
    for numbers in metrics.values():
        del numbers["p"]
    printed = {}
    for d in definitions(arguments.task, questions):
        if d.metric in metrics:
            scaled = {k: _times(metrics[d.metric][k], d.factor) for k in ("value", "low", "high")}
            printed[d.name] = {**scaled, "printed": f"{scaled['value']:.1f}", "definition": d.text}
    factor = 100.0 if task.unit == "%" else 1.0
    published = _published(arguments.root, printed)
    head = {k: _times(metrics[task.primary][k], factor) for k in ("value", "low", "high")}
    return {
        "primary": task.primary,
        "unit": task.unit,
        "headline": {**head, "printed": f"{head['value']:.1f}"},
        "definitions": printed,
        "published": published,
        "metrics": metrics,
        "bootstrap": {"replicates": arguments.replicates, "seed": arguments.seed, "level": 0.95},
    }


def _published(root: Path, names: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Baselines that were printed by the same definitions; none outside a project folder."""
    from prunegrid.run.expected import FILE, beside, load

    return beside(load(root / FILE), names) if (root / FILE).is_file() else []


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None or not math.isfinite(value) else value * factor


def shown(report: Mapping[str, Any]) -> str:
    """The report for people: the printed definitions first, then every metric."""
    lines = [f"{report['task']} ({report['mode']}), {report['n']} answers"]
    if "clusters" in report:
        lines[0] += f", {report['clusters']} clusters; 95 % intervals by resampling clusters"
    for name, d in report.get("definitions", {}).items():
        lines.append(f"  {name:22} {_bounds(d, 2)}   {d['definition']}")
    if report["metrics"]:
        lines += _beside(report.get("published", []))
        lines.append("every metric:")
    lines += [f"  {name:22} {_bounds(numbers, 4)}" for name, numbers in report["metrics"].items()]
    if "against" in report:
        other = report["against"]
        lines.append(f"minus {' '.join(other['answers'])} (paired):")
        lines += [f"  {n:22} {_bounds(d, 4)}  p = {d['p']:.4g}" for n, d in other["difference"].items()]
        if other.get("mcnemar"):
            m = other["mcnemar"]
            lines.append(f"  McNemar, exact: {m['only_ours']} against {m['only_theirs']}, p = {m['p']:.4g}")
        lines.append(
            f"  smallest difference that {other['power']['n']} answers show: {other['power']['text']}"
        )
    for key in ("missing", "unknown", "empty"):
        if report[key]:
            lines.append(f"{key}: {report[key]}")
    lines += [f"note: {note}" for note in report["notes"]]
    if "upload" in report:
        lines.append(f"wrote {report['uploaded']} answers to {report['upload']}")
    return "\n".join(lines)


def _beside(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["published, by the same definitions:"] if rows else []
    for row in rows:
        scores = ", ".join(f"{name} {value:g}" for name, value in row["scores"].items())
        lines.append(f"  {row['row']:22} {scores} ({row['training']})")
    return lines


def _bounds(numbers: Mapping[str, Any], digits: int) -> str:
    low, high = numbers["low"], numbers["high"]
    ends = "not bounded" if low is None or high is None else f"[{low:.{digits}f}, {high:.{digits}f}]"
    return f"{numbers['value']:10.{digits}f}  {ends}"
