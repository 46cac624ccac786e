"""GQA: LLaVA's answers or its converted predictions beside testdev_balanced_questions.json.

Source: scripts/convert_gqa_for_eval.py of LLaVA at c121f043 and the benchmark's eval.py (balanced questions only).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prunegrid.tasks.base import Record
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.gqa import Gqa
from prunegrid.tasks.layouts.answered import Answered, join
from prunegrid.tasks.layouts.files import field, mapping, once, read_json, text_of, texts

TASK = Gqa(file="gqa.jsonl", prompt="{question}")


def read(answers: Sequence[Path], annotations: Sequence[Path]) -> Answered:
    """Answers: jsonl (question_id, text) or predictions (questionId, prediction). Annotations: the questions."""
    pairs = [
        pair
        for p in answers
        for pair in texts(p, ("question_id", "questionId"), ("text", "prediction")).items()
    ]
    questions = []
    for path in annotations:
        for name, row in mapping(read_json(path), str(path)).items():
            row = mapping(row, f"{path} question {name}")
            if row.get("isBalanced", True):
                questions.append(_question(str(name), row))
    if not questions:
        raise TaskError("no balanced questions: pass testdev_balanced_questions.json")
    return join(TASK, questions, once(pairs, "answers"))


def _question(name: str, row: Mapping[str, Any]) -> Record:
    where = f"question {name}"
    structural = field(mapping(field(row, ("types",), where), where), ("structural",), where)
    image = str(field(row, ("imageId",), where))
    return Record(name, image, "", text_of(row, ("answer",), where), {"structural": structural})
