"""LLaVA-Bench (In-the-Wild): reviews of a judge, one file per run, or answers that are still to be judged.

Sources: llava/eval/eval_gpt_review_bench.py at c121f043 (reviews); questions.jsonl, context.jsonl and
answers_gpt4.jsonl of the benchmark.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prunegrid.tasks.base import Record
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.judged import attach
from prunegrid.tasks.layouts.answered import Answered, join
from prunegrid.tasks.layouts.files import field, ident, once, read_rows, text_of, texts
from prunegrid.tasks.llava_wild import UNREAD, LlavaWild, category

TASK = LlavaWild(file="llava_wild.jsonl", prompt="{question}")
_IDS = ("question_id",)


def read(answers: Sequence[Path], annotations: Sequence[Path]) -> Answered:
    """Answers: review files (one per run of the judge), or one file of answers to judge. Annotations: the
    benchmark's questions, contexts and reference answers (needed to judge; reviews name their category)."""
    questions = _questions(annotations)
    rows = {path: read_rows(path) for path in answers}
    reviews = [
        _review(path, found) for path, found in rows.items() if "tuple" in found[0] or "content" in found[0]
    ]
    if not reviews:
        said = once((pair for path in answers for pair in texts(path).items()), "answers")
        if not questions:
            raise TaskError(
                "answers without reviews: pass questions.jsonl, context.jsonl and answers_gpt4.jsonl"
            )
        return join(TASK, questions.values(), said)
    if len(reviews) != len(answers):
        raise TaskError("review files and answer files are mixed; pass the reviews alone")
    asked = questions or {r.id: r for run in reviews for r in run[1]}
    gone = [
        f"{name} (run {i + 1})" for i, (run, _) in enumerate(reviews) for name in asked if name not in run
    ]
    extra = [
        f"{name} (run {i + 1})" for i, (run, _) in enumerate(reviews) for name in run if name not in asked
    ]
    whole = [r for r in asked.values() if all(r.id in run for run, _ in reviews)]
    records = attach(whole, [run for run, _ in reviews])
    notes = [f"{len(reviews)} run{'s' * (len(reviews) > 1)} of the judge"]
    lost = sum(points == list(UNREAD) for run, _ in reviews for points in run.values())
    if lost:
        notes.append(
            f"{lost} reviews were not readable (-1 -1): official counts them, strict leaves them out"
        )
    return Answered(replace(TASK, runs=len(reviews)), records, gone, extra, notes)


def _review(path: Path, rows: list[dict[str, Any]]) -> tuple[dict[str, list[float]], list[Record]]:
    """(question id -> points of reference and answer, records by what the reviews say themselves)."""
    points, records = [], []
    for number, row in enumerate(rows, start=1):
        where = f"{path} row {number}"
        name, pair = ident(row, _IDS, where), field(row, ("tuple", "score"), where)
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(p, int | float) for p in pair):
            raise TaskError(f"{where}: tuple {pair!r} must be two numbers")
        points.append((name, [float(p) for p in pair]))
        kind = category(text_of(row, ("category",), where))
        records.append(Record(name, name, "", "", {"category": kind}))
    return once(points, str(path)), records


def _questions(annotations: Sequence[Path]) -> dict[str, Record]:
    """Records by question id, with what a judge is told: question, caption, reference answer."""
    asked: dict[str, dict[str, Any]] = {}
    captions: dict[str, str] = {}
    references: dict[str, str] = {}
    for path in annotations:
        for row in read_rows(path):
            if "caption" in row:
                captions[str(row["image"])] = str(row["caption"])
            elif "image" in row:
                asked[ident(row, _IDS, str(path))] = row
            else:
                references[ident(row, _IDS, str(path))] = text_of(row, ("text",), str(path))
    made = {}
    for name, row in asked.items():
        image = str(row["image"])
        kind = category(text_of(row, ("category",), f"question {name}"))
        told = {"asked": str(row.get("text", "")), "caption": captions.get(image)}
        made[name] = Record(name, image, "", references.get(name, ""), {"category": kind, **told})
    return made
