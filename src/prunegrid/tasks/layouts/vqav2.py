"""VQAv2: answers beside the annotations of val2014, or made into the file that the challenge server wants.

Source: scripts/convert_vqav2_for_submission.py of LLaVA at c121f043: one entry for every question of the list
(all of test2015), normalised, and an empty answer for those that were not asked. Test has no public answers.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prunegrid.tasks.base import Record
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.layouts.answered import Answered, join
from prunegrid.tasks.layouts.files import field, ident, once, read_rows, text_of, texts
from prunegrid.tasks.soft import REFERENCES
from prunegrid.tasks.text import m4c
from prunegrid.tasks.vqav2 import VqaV2

TYPES = ("yes/no", "number", "other")
TASK = VqaV2(file="vqav2.jsonl", prompt="{question}", types=TYPES)


def read(answers: Sequence[Path], annotations: Sequence[Path]) -> Answered:
    """Answers: jsonl (question_id, text) or an upload file. Annotations: v2_mscoco_*_annotations.json to score,
    and/or a list of questions (llava_vqav2_mscoco_test2015.jsonl, v2_OpenEnded_*_questions.json) to upload."""
    said = once((pair for p in answers for pair in texts(p, said=("text", "answer")).items()), "answers")
    questions: list[Record] = []
    listed: dict[str, Any] = {}
    for path in annotations:
        rows = read_rows(path)
        if "answers" in rows[0]:
            questions += [_question(row) for row in rows]
        else:
            listed.update((ident(row, ("question_id",), str(path)), row["question_id"]) for row in rows)
    upload = [{"question_id": number, "answer": m4c(said.get(name, ""))} for name, number in listed.items()]
    if questions:
        return join(TASK, questions, said, upload=upload or None)
    if not listed:
        raise TaskError(
            "no questions: pass v2_mscoco_val2014_annotations.json, or a list of questions to upload"
        )
    notes = [f"{sum(name in said for name in listed)} of {len(listed)} questions answered; the others get ''"]
    return Answered(TASK, [], [], [name for name in said if name not in listed], notes, upload)


def references(row: Mapping[str, Any], where: str) -> list[str]:
    """The ten answers of people, given as texts or as objects with `answer`."""
    given = field(row, ("answers",), where)
    found = [text_of(a, ("answer",), where) if isinstance(a, dict) else a for a in given]
    if len(found) != REFERENCES or not all(isinstance(a, str) for a in found):
        raise TaskError(f"{where}: answers must be {REFERENCES} texts, not {len(found)}")
    return found


def _question(row: Mapping[str, Any]) -> Record:
    name = ident(row, ("question_id",), "question")
    kind = str(field(row, ("answer_type", "type"), f"question {name}"))
    if kind not in TYPES:
        raise TaskError(f"question {name}: answer_type {kind!r} must be one of {', '.join(TYPES)}")
    image = str(field(row, ("image_id", "image"), f"question {name}"))
    return Record(name, image, "", references(row, f"question {name}"), {"type": kind})
