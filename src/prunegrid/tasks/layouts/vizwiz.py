"""VizWiz: raw answers made into the normalised upload file, and scored where the annotations have answers (val).

Source: scripts/convert_vizwiz_for_submission.py of LLaVA at c121f043: a list of {image, answer}, in the order of
the question file, each answer normalised as by m4c. A question's number stands in its image's name.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prunegrid.tasks.base import Record
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.layouts.answered import Answered, join
from prunegrid.tasks.layouts.files import field, ident, once, read_rows, text_of
from prunegrid.tasks.layouts.vqav2 import references
from prunegrid.tasks.text import m4c
from prunegrid.tasks.vizwiz import VizWiz

TASK = VizWiz(file="vizwiz.jsonl", prompt="{question}")


def read(answers: Sequence[Path], annotations: Sequence[Path]) -> Answered:
    """Answers: jsonl (question_id, text) or an upload file (image, answer). Annotations: llava_test.jsonl
    (question_id, image), and/or val.json / test.json of the benchmark; without any, the ids name the images."""
    images: dict[str, str] = {}
    scored: dict[str, Mapping[str, Any]] = {}
    order: list[str] = []
    for path in annotations:
        for row in read_rows(path):
            image = str(field(row, ("image",), str(path)))
            order.append(image)
            if "question_id" in row:
                images[ident(row, ("question_id",), str(path))] = image
            if "answers" in row:
                scored[image] = row
    by_number = {_number(image): image for image in order}
    pairs = [pair for path in answers for pair in _said(path, images, by_number)]
    said = once(pairs, "answers")
    listed = list(dict.fromkeys(order)) or list(said)
    absent = [image for image in listed if image not in said]
    upload = None if absent else [{"image": image, "answer": m4c(said[image])} for image in listed]
    if scored:
        return join(TASK, [_question(image, row) for image, row in scored.items()], said, upload=upload)
    unknown = [image for image in said if image not in set(listed)]
    notes = ["no answers of people in the annotations: nothing to score, an upload file can be written"]
    return Answered(TASK, [], absent, unknown, notes, upload)


def _said(path: Path, images: Mapping[str, str], by_number: Mapping[str, str]) -> list[tuple[str, str]]:
    found = []
    for number, row in enumerate(read_rows(path), start=1):
        where = f"{path} row {number}"
        if "image" in row and "question_id" not in row:
            found.append((str(row["image"]), text_of(row, ("answer", "text"), where)))
            continue
        name = ident(row, ("question_id",), where)
        image = (
            images.get(name) or by_number.get(name) or (name if images or by_number else _named(name, where))
        )
        found.append((image, text_of(row, ("text",), where)))
    return found


def _named(name: str, where: str) -> str:
    if not name.isdigit():
        raise TaskError(f"{where}: question {name!r} names no image; pass llava_test.jsonl")
    return f"VizWiz_test_{int(name):08d}.jpg"


def _number(image: str) -> str:
    digits = re.findall(r"\d+", image)
    return str(int(digits[-1])) if digits else image


def _question(image: str, row: Mapping[str, Any]) -> Record:
    where = f"question of {image}"
    kind = row.get("answer_type")
    if not isinstance(kind, str):
        raise TaskError(f"{where}: answer_type is missing; it tells what cannot be answered")
    return Record(image, image, "", references(row, where), {"type": kind})
