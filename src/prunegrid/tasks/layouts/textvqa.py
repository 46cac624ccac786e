"""TextVQA: LLaVA's answers, whose ids are image ids, beside TextVQA_0.5.1_val.json.

Source: llava/eval/eval_textvqa.py at c121f043: an answer finds its question by image id and the lower-cased
question in its prompt, with or without the line of OCR words.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prunegrid.tasks.base import Record
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.layouts.answered import Answered, join
from prunegrid.tasks.layouts.files import field, ident, mapping, once, read_json, read_rows, text_of
from prunegrid.tasks.soft import REFERENCES
from prunegrid.tasks.textvqa import TextVqa

TASK = TextVqa(file="textvqa.jsonl", prompt="{question}", evaluator="m4c")
_OCR = "Reference OCR token:"


def read(answers: Sequence[Path], annotations: Sequence[Path]) -> Answered:
    """Answers: jsonl with question_id (= image_id), prompt, text. Annotations: TextVQA_0.5.1_val.json."""
    questions: dict[str, Record] = {}
    for path in annotations:
        rows = field(mapping(read_json(path), str(path)), ("data",), str(path))
        questions.update(
            (r.id, r) for r in map(_question, rows)
        )  # of two like ones the last counts, as in LLaVA
    pairs, ocr = [], 0
    for path in answers:
        for number, row in enumerate(read_rows(path), start=1):
            where = f"{path} row {number}"
            prompt = text_of(row, ("prompt",), where)
            ocr += _OCR in prompt
            key = f"{ident(row, ('question_id',), where)} {_asked(prompt, where)}"
            pairs.append((key, text_of(row, ("text",), where)))
    notes = [f"OCR words in {ocr} of {len(pairs)} prompts"]
    return join(TASK, questions.values(), once(pairs, "answers"), notes=notes)


def _question(row: Any) -> Record:
    row = mapping(row, "question")
    name = ident(row, ("image_id",), "question")
    asked = text_of(row, ("question",), f"question of image {name}").lower()
    references = field(row, ("answers",), f"question of image {name}")
    if len(references) != REFERENCES or not all(isinstance(r, str) for r in references):
        raise TaskError(f"question of image {name}: answers must be {REFERENCES} texts")
    return Record(f"{name} {asked}", name, "", references, {})


def _asked(prompt: str, where: str) -> str:
    lines = prompt.split("\n")
    if len(lines) == 3 and _OCR in prompt:
        return lines[1 if prompt.startswith(_OCR) else 0].lower()
    if len(lines) in (1, 2):
        return lines[0].lower()
    raise TaskError(f"{where}: a question, an OCR line and a suffix are expected, not {len(lines)} lines")
