"""Judgements on disk: one JSON line each, appended as it is made, replayed when scoring.

A line holds who judged, when, in which run, a hash of all that the judge was told (so that a changed answer or
wording is judged anew), its words and what was read from them. A failed request leaves no line.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from prunegrid.tasks.base import Record
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.judged import attach
from prunegrid.tasks.judging.client import JudgeError, Reply
from prunegrid.tasks.judging.prompts import Asking, Messages, asking
from prunegrid.tasks.layouts.answered import Answered
from prunegrid.tasks.layouts.files import read_jsonl


@dataclass(frozen=True)
class Judgement:
    """One line of the store; `verdict` is None where the reply was not readable."""

    task: str
    id: str
    run: int
    told: str  # sha256 of the version and the messages, 16 digits
    judge: str  # the model as the endpoint names it
    date: str  # UTC, ISO 8601
    reply: str
    verdict: Any


def told(how: Asking, messages: Messages) -> str:
    """Hash of all that the judge was told."""
    text = json.dumps([how.version, messages], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(path: Path) -> list[Judgement]:
    """The stored judgements. TaskError for a line that is cut or has other fields."""
    rows = read_jsonl(path) if path.exists() and path.stat().st_size else []
    names = set(Judgement.__dataclass_fields__)
    for number, row in enumerate(rows, start=1):
        if set(row) != names:
            raise TaskError(f"{path} line {number}: fields must be {', '.join(sorted(names))}")
    return [Judgement(**row) for row in rows]


def judge_all(
    task: str,
    records: Sequence[Record],
    path: Path,
    *,
    runs: int,
    ask: Callable[[Messages], Reply],
    now: Callable[[], str],
    say: Callable[[str], None] = print,
) -> list[str]:
    """Judge what the store does not have yet; give the failures, one line of words each.

    `ask` may raise JudgeError: the answer then stays unjudged and is tried again in the next call.
    """
    how = asking(task)
    have = {(j.id, j.run, j.told) for j in load(path)}
    wanted = []
    for run in range(runs):
        for record in records:
            messages = how.messages(record)
            if (record.id, run, told(how, messages)) not in have:
                wanted.append((run, record.id, messages))
    failures = []
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for number, (run, name, messages) in enumerate(wanted, start=1):
            try:
                reply = ask(messages)
            except JudgeError as error:
                failures.append(f"{name} (run {run + 1}): {error}")
                continue
            verdict = how.verdict(reply.text)
            line = Judgement(task, name, run, told(how, messages), reply.model, now(), reply.text, verdict)
            file.write(json.dumps(asdict(line), ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
            if number % 20 == 0:
                say(f"{number} of {len(wanted)} judged")
    return failures


def replayed(
    task: str, records: Sequence[Record], stored: Iterable[Judgement]
) -> tuple[list[Record], list[str]]:
    """Records with their stored judgements, and notes on who judged and when. TaskError if any is missing."""
    how = asking(task)
    by_key = {(j.id, j.run, j.told): j for j in stored if j.task == task}
    runs = 1 + max((run for _, run, _ in by_key), default=-1)
    if not runs:
        raise TaskError(f"no judgement of {task} is stored; ask a judge with `prunegrid judge {task}`")
    tables: list[dict[str, Any]] = [{} for _ in range(runs)]
    used, missing = [], []
    for record in records:
        key = told(how, how.messages(record))
        for run in range(runs):
            one = by_key.get((record.id, run, key))
            if one is None:
                missing.append(f"{record.id} (run {run + 1})")
            else:
                tables[run][record.id] = one.verdict
                used.append(one)
    if missing:
        raise TaskError(
            f"{len(missing)} answers are not judged as they stand (first: {missing[0]});"
            f" `prunegrid judge {task}` judges what is missing and keeps the rest"
        )
    notes = [f"{runs} run{'s' * (runs > 1)} of the judge"]
    for judge in sorted({one.judge for one in used}):
        dates = [one.date for one in used if one.judge == judge]
        notes.append(f"judged by {judge}, {min(dates)[:10]} to {max(dates)[:10]}")
    if len({one.judge for one in used}) > 1:
        notes.append("several judges: their points are not comparable")
    lost = sum(one.verdict is None for one in used)
    return attach(records, tables), notes + ([f"{lost} replies were not readable"] if lost else [])


def judged_by(task: str, answered: Answered, path: Path) -> Answered:
    """Answers with the judgements stored in `path` beside them."""
    if not path.is_file():
        raise TaskError(f"{path}: no such file; `prunegrid judge {task}` makes it")
    records, notes = replayed(task, answered.records, load(path))
    runs = len(records[0].meta["judgements"]) if records else 1
    # every judged task has `runs`
    task_ = replace(answered.task, runs=runs)  # type: ignore[call-arg]
    return replace(answered, task=task_, records=records, notes=[*answered.notes, *notes])
