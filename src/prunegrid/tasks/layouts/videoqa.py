"""Video questions: answers of Video-LLaVA's scripts, with or without the judge's verdicts.

Sources: videollava/eval of Video-LLaVA 984e65b: answers are lines of {id, question, answer, pred}; the judge's
file maps an answer's name to [{pred: yes or no, score: 0 to 5}, the answer].
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prunegrid.tasks.base import Record
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.judged import attach
from prunegrid.tasks.layouts.answered import Answered, join
from prunegrid.tasks.layouts.files import field, ident, mapping, once, read_json, read_rows, text_of
from prunegrid.tasks.videoqa import VideoQa

TASK = VideoQa(file="videoqa.jsonl", prompt="{question}")
_IDS = ("id", "question_id")


def read(answers: Sequence[Path], annotations: Sequence[Path]) -> Answered:
    """Answers: lines of {id, question, answer, pred}, or the judge's file. Annotations: none, or the benchmark's
    test_q.json (question_id, video_name) and test_a.json (question_id, answer)."""
    judged = [found for path in answers if (found := _verdicts(path)) is not None]
    rows = [row for found in judged[:1] for row, _ in found.values()]
    rows = rows or [row for path in answers for row in read_rows(path)]
    if judged and len(judged) != len(answers):
        raise TaskError("files of a judge and files of answers are mixed; pass the judge's alone")
    own = [_record(row) for row in rows]
    said = once(((record.id, record.text) for record in own), "answers")
    made = join(TASK, list(_asked(annotations)) or own, said)
    if not judged:
        return made
    runs = [{_name(row): verdict for row, verdict in found.values()} for found in judged]
    gone = [f"{r.id} (run {k + 1})" for k, run in enumerate(runs) for r in made.records if r.id not in run]
    records = attach([r for r in made.records if all(r.id in run for run in runs)], runs)
    return Answered(replace(TASK, runs=len(runs)), records, [*made.missing, *gone], made.unknown, made.notes)


def _verdicts(path: Path) -> dict[str, tuple[dict[str, Any], dict[str, Any]]] | None:
    """name -> (answer row, verdict); None where the file holds answers only."""
    if path.suffix != ".json":
        return None
    whole = read_json(path)
    if not isinstance(whole, dict):
        return None
    found = {}
    for name, pair in whole.items():
        if not isinstance(pair, list) or len(pair) != 2:
            raise TaskError(f"{path} {name}: [verdict, answer] is needed, not {pair!r}")
        verdict, row = mapping(pair[0], f"{path} {name}"), mapping(pair[1], f"{path} {name}")
        found[name] = ({"id": name, **row}, verdict)
    return found


def _name(row: Mapping[str, Any]) -> str:
    return ident(row, _IDS, "answer")


def _record(row: Mapping[str, Any]) -> Record:
    name = _name(row)
    where = f"answer {name}"
    video = str(row.get("video_name", row.get("video", name)))
    asked = {"asked": str(row.get("question", row.get("q", "")))}
    reference = text_of(row, ("answer", "a"), where)
    return Record(name, video, text_of(row, ("pred",), where), reference, asked)


def _asked(annotations: Sequence[Path]) -> Iterator[Record]:
    questions: dict[str, dict[str, Any]] = {}
    for path in annotations:
        for row in read_rows(path):
            questions.setdefault(ident(row, _IDS, str(path)), {}).update(row)
    for name, row in questions.items():
        where = f"question {name}"
        answer = text_of(row, ("answer",), where)
        yield Record(
            name,
            str(field(row, ("video_name", "video"), where)),
            "",
            answer,
            {"asked": row.get("question")},
        )
