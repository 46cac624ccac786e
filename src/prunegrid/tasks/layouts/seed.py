"""SEED-Bench-1: LLaVA's answers or upload file beside the benchmark's questions, of either cut.

Source: scripts/convert_seed_for_submission.py of LLaVA at c121f043. The file of printed LLaVA-1.5 tables has
19,242 questions (14,233 with an image); today's has 17,990 (the same image questions, fewer video questions).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prunegrid.tasks.base import Record
from prunegrid.tasks.choices import LETTERS
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.layouts.answered import Answered, join
from prunegrid.tasks.layouts.files import field, ident, mapping, once, read_json, texts
from prunegrid.tasks.seed import DATA_TYPES, Seed

TASK = Seed(file="seed.jsonl", prompt="{question}")
CUTS = {19_242: "as printed with LLaVA-1.5", 17_990: "as published today"}


def read(answers: Sequence[Path], annotations: Sequence[Path]) -> Answered:
    """Answers: jsonl with question_id and text or prediction. Annotations: SEED-Bench.json."""
    if len(annotations) != 1:
        raise TaskError(f"one annotation file is needed, SEED-Bench.json, not {len(annotations)}")
    content = mapping(read_json(annotations[0]), str(annotations[0]))
    kinds = {number: name for name, number in content.get("question_type", {}).items()}
    rows = [mapping(row, str(annotations[0])) for row in field(content, ("questions",), str(annotations[0]))]
    questions = [_question(row, kinds) for row in rows]
    kinds_there = dict.fromkeys(record.meta["type"] for record in questions if record.meta["type"])
    task = replace(TASK, types=tuple(kinds_there))
    said = (pair for path in answers for pair in texts(path, said=("text", "prediction")).items())
    made = join(task, questions, once(said, "answers"))
    size = len(questions)
    notes = [f"{size} questions{f', the cut {CUTS[size]}' if size in CUTS else ''}"]
    if made.unknown and not made.missing:  # every question answered, and more: answers to a larger cut
        notes.append(f"{len(made.unknown)} answers are to questions that this cut of the file does not have")
        return Answered(task, made.records, notes=notes)
    return Answered(task, made.records, made.missing, made.unknown, notes)


def _question(row: Mapping[str, Any], kinds: Mapping[int, str]) -> Record:
    name = ident(row, ("question_id",), "question")
    answer, data_type = field(row, ("answer",), f"question {name}"), str(row.get("data_type", "")).lower()
    if not isinstance(answer, str) or len(answer) != 1 or answer not in LETTERS:
        raise TaskError(f"question {name}: answer {answer!r} must be a letter")
    if data_type not in DATA_TYPES:
        raise TaskError(f"question {name}: data_type {data_type!r} must be image or video")
    picture = f"{data_type} {row.get('data_id', name)}"
    meta = {"data_type": data_type, "type": kinds.get(row.get("question_type_id", -1))}
    return Record(name, picture, "", answer, meta)
