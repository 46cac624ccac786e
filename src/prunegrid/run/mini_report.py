"""`prunegrid mini report`: the embedded model's bars, with intervals, from the cells of the study mini_bars."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prunegrid.grid.cell import Cell
from prunegrid.grid.plan import make
from prunegrid.run import build, weights
from prunegrid.run.attention_stats import attention_rows, summary
from prunegrid.run.compare import counts_of
from prunegrid.run.files import read_json, read_jsonl, write_json, write_text
from prunegrid.stats.arrays import Metric
from prunegrid.stats.bootstrap import paired_bootstrap
from prunegrid.stats.interval import Interval
from prunegrid.stats.pairing import align
from prunegrid.tasks import Record

STUDY = "mini_bars"
FLOORS = (
    ("mini_pope", "f1", 0.90),
    ("mini_pope", "accuracy", 0.88),
    ("mini_vqa", "accuracy", 0.85),
    ("mini_textvqa", "accuracy", 0.85),
    ("mini_sqa", "img_accuracy", 0.85),
    ("mini_caption", "recall", 0.70),
)
GAPS = (
    ("mini_pope", "accuracy"),
    ("mini_vqa", "accuracy"),
    ("mini_textvqa", "accuracy"),
    ("mini_sqa", "img_accuracy"),
)
ATTENDED_IMAGES = 200

Counts = tuple[list[str], np.ndarray]  # clusters and their sufficient statistics


@dataclass(frozen=True)
class Bar:
    """One bar: what was asked for, what was reached, and whether that is enough."""

    name: str
    reached: str
    asked: str
    met: bool


def report(root: Path, results: Path) -> list[Bar]:
    """Compute every bar, write results/mini/report.{json,md}, return them. The cells must have been run."""
    rows = make(root, results, STUDY).rows
    cells = {(r["row"], r["column"]): r for r in rows if not r["support"]}
    bars = [*_floors(results, cells), *_gaps(root, results, cells), *_selectors(results, cells)]
    attention = _attention(root, rows[0])
    out = results / "mini"
    write_json(out / "report.json", {"bars": [b.__dict__ for b in bars], "attention": attention})
    write_text(out / "report.md", render(bars, attention))
    return bars


def _score(results: Path, row: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = read_json(
        results / "cells" / row["id"] / "score.json",
        f"run `snakemake --profile workflow/profiles/local --config study={STUDY}`",
    )
    return made


def _floors(results: Path, cells: dict[tuple[str, str], dict[str, Any]]) -> Iterable[Bar]:
    for task, metric, least in FLOORS:
        made = _score(results, cells["full tokens", task])
        value, (low, high) = made["metrics"][metric], made["interval"][metric]
        yield Bar(
            f"full tokens, {task} {metric}",
            f"{value:.3f} [{low:.3f}, {high:.3f}]",
            f">= {least:.2f}",
            value >= least,
        )
    new = _score(results, cells["full tokens", "mini_caption"])["new_tokens"]["mean"]
    yield Bar("full tokens, mini_caption new tokens", f"{new:.1f}", ">= 40", new >= 40)


def _gaps(root: Path, results: Path, cells: dict[tuple[str, str], dict[str, Any]]) -> Iterable[Bar]:
    """The blind model, and the best constant answer per question template, stay at least 25 points below."""
    for task, name in GAPS:
        row, blind = cells["full tokens", task], cells["blind (0 tokens)", task]
        made, full = build.task(Cell.from_dict(row["cell"])), counts_of(results, row["id"])
        rivals = {
            "blind model": counts_of(results, blind["id"]),
            "best constant answer per template": made.counts(best_constant(results, row)),
        }
        for who, counts in rivals.items():
            value = made.metric(np.asarray(counts[1], float).sum(0))[name]
            gap = _gap(full, counts, made.metric, name)
            yield Bar(f"{who}, {task} {name}", f"{value:.3f}, {_said(gap)} below full", "25 points below full",
                      gap.value >= 0.25)  # fmt: skip


def _gap(ours: Counts, theirs: Counts, metric: Metric, name: str) -> Interval:
    """Of one metric of the same questions, `ours` minus `theirs`."""
    return paired_bootstrap(*align(*ours, *theirs), metric, replicates=2000)[name]


def _said(gap: Interval) -> str:
    return f"{gap.value:.3f} [{gap.low:.3f}, {gap.high:.3f}]"


def best_constant(results: Path, row: dict[str, Any]) -> list[dict[str, Any]]:
    """Verdicts on the strategy that knows every answer's frequency per question template, and sees nothing."""
    cell = Cell.from_dict(row["cell"])
    task = build.task(cell)
    records = [
        Record.from_dict(r)
        for r in read_jsonl(results / "predictions" / row["prediction"] / "records.jsonl", "run it")
    ]
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[_template(record)].append(record)
    judged = []
    for group in groups.values():
        tried = [
            [task.judge(Record(r.id, r.cluster, guess, r.answer, r.meta), "official") for r in group]
            for guess in _guesses(group)
        ]
        judged += tried[int(np.argmax([_right(j) for j in tried]))]
    return judged


def _template(record: Record) -> str:
    """What kind of question this is: its type, sub-task or split as far as it has one."""
    return "/".join(str(record.meta.get(k, "")) for k in ("type", "subtask"))


def _guesses(group: list[Record]) -> list[str]:
    said: Counter[str] = Counter()
    for record in group:
        answers = record.answer if isinstance(record.answer, list) else [record.answer]
        said.update(str(a) for a in answers)
    return ["A", "B", "C", "D", *(a for a, _ in said.most_common(20))]


def _right(judged: list[dict[str, Any]]) -> float:
    return sum(float(j.get("score", j.get("correct", 0)) or 0) for j in judged)


def _selectors(results: Path, cells: dict[tuple[str, str], dict[str, Any]]) -> Iterable[Bar]:
    """At 11 % of the tokens: sequential loses 10 points; best and worst selector differ by 5, paired."""
    selectors = ("sequential", "random", "spatial 4x4", "top-k CLS", "PruMerge, top-k")
    for task in ("mini_vqa", "mini_textvqa"):
        rows = {who: cells[who, task] for who in ("full tokens", *selectors)}
        metric = build.task(Cell.from_dict(rows["full tokens"]["cell"])).metric
        counts = {who: counts_of(results, row["id"]) for who, row in rows.items()}
        lost = _gap(counts["full tokens"], counts["sequential"], metric, "accuracy")
        yield Bar(f"sequential at 11 %, {task}", f"loses {_said(lost)}", "loses >= 0.10", lost.value >= 0.10)
        values = {s: _score(results, rows[s])["metrics"]["accuracy"] for s in selectors}
        best, worst = max(values, key=lambda s: values[s]), min(values, key=lambda s: values[s])
        gap = _gap(counts[best], counts[worst], metric, "accuracy")
        yield Bar(
            f"best ({best}) against worst ({worst}) at 11 %, {task}",
            _said(gap),
            ">= 0.05, interval without 0",
            gap.value >= 0.05 and gap.low > 0,
        )


def _attention(root: Path, row: dict[str, Any]) -> dict[str, float]:
    """The CLS attention's tail on held-out scenes, and how often its top patches lie on a thing or a digit."""
    cell = Cell.from_dict(row["cell"])
    scenes = root / cell.task["data"] / "scenes.jsonl"
    listed = [json.loads(line) for line in scenes.read_text(encoding="utf-8").splitlines()[:ATTENDED_IMAGES]]
    model, processor = weights.load(cell, root, "cpu")
    images = [root / cell.task["data"] / "images" / f"{s['id']}.png" for s in listed]
    rows = attention_rows(model, processor, images)
    there = np.zeros(rows.shape, bool)
    for i, scene in enumerate(listed):
        for patches in (*scene["thing_patches"], *scene["digit_patches"]):
            there[i, patches] = True
    return summary(rows, there)


def render(bars: list[Bar], attention: dict[str, float]) -> str:
    """Markdown: the bars, then the attention."""
    lines = ["| bar | reached | asked | |", "| --- | --- | --- | --- |"]
    lines += [f"| {b.name} | {b.reached} | {b.asked} | {'met' if b.met else '**not met**'} |" for b in bars]
    lines += ["", "| CLS attention, 200 held-out scenes | |", "| --- | --- |"]
    lines += [f"| {name.replace('_', ' ')} | {value:.3f} |" for name, value in attention.items()]
    return "\n".join(lines) + "\n"
