"""POPE: LLaVA's answers beside the benchmark's three annotation files, with or without LLaVA's question file.

Sources: llava_pope_test.jsonl and eval_pope.py of LLaVA at c121f043; output/coco/*.json of POPE (August 2023:
2,910 random questions; today 3,000). LLaVA numbers a question 10,000,000 * k + the annotation's question_id,
k = 0, 1, 2 for adversarial, random, popular. 246 questions were published with "imange" for "image", which
later files correct; both spellings are the same question.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prunegrid.tasks.base import Record
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.layouts.answered import Answered, join
from prunegrid.tasks.layouts.files import expand, field, ident, once, read_rows, text_of
from prunegrid.tasks.pope import SPLITS, Pope

TASK = Pope(file="pope.jsonl", prompt="{question}")
_NUMBERED = {0: "adversarial", 1: "random", 2: "popular"}
_STEP = 10_000_000
Rows = list[dict[str, Any]]


def read(answers: Sequence[Path], annotations: Sequence[Path]) -> Answered:
    """Answers: LLaVA's jsonl. Annotations: coco_pope_{random,popular,adversarial}.json, llava_pope_test.jsonl."""
    labels: dict[str, Rows] = {}
    listed: Rows = []
    for path in expand(annotations, (".json", ".jsonl")):
        rows = read_rows(path)
        if "label" in rows[0]:
            labels[_split_of(path, labels)] = rows
        else:
            listed += rows
    if not labels:
        raise TaskError(
            "no annotation file with labels: pass coco_pope_random.json, _popular and _adversarial"
        )
    said = [row for path in answers for row in read_rows(path)]
    asked = {_id(row): row for row in said}
    found = _listed(listed, labels) if listed else _numbered(asked, labels)
    questions, typos = [], 0
    for name, (split, label) in found.items():
        answer = str(label["label"]).strip().lower()
        if answer not in ("yes", "no"):
            raise TaskError(f"{split} question {name}: label {label['label']!r} must be yes or no")
        prompt = asked.get(name, {}).get("prompt")
        typos += prompt is not None and _bare(prompt) != _bare(label["text"])
        questions.append(Record(name, str(label["image"]), "", answer, {"split": split}))
    notes = (
        [f"{typos} questions are spelled otherwise than in the annotations (imange, image)"] if typos else []
    )
    absent = [split for split in SPLITS if split not in labels]
    if absent:
        notes.append(f"no labels for {', '.join(absent)}: the mean of F1 is over {', '.join(labels)} alone")
    texts = once(((_id(row), text_of(row, ("text",), f"question {_id(row)}")) for row in said), "answers")
    return join(TASK, questions, texts, notes=notes)


def _split_of(path: Path, seen: Mapping[str, Rows]) -> str:
    names = [split for split in SPLITS if split in path.stem]
    if len(names) != 1:
        raise TaskError(f"{path}: the file name must say one of {', '.join(SPLITS)}")
    if names[0] in seen:
        raise TaskError(f"{path}: a second file of labels for {names[0]}")
    return names[0]


def _id(row: Mapping[str, Any]) -> str:
    return ident(row, ("question_id",), "answers")


def _bare(text: str) -> str:
    """A question without LLaVA's suffix."""
    return text.split("\n")[0].strip()


def _listed(listed: Rows, labels: Mapping[str, Rows]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Question id -> (split, label row), by split, image and words of LLaVA's question file."""
    keyed: dict[tuple[str, str, str], Rows] = {}
    for split, rows in labels.items():
        for row in rows:
            keyed.setdefault((split, str(row["image"]), _word(row)), []).append(row)
    found = {}
    for row in listed:
        name, split = _id(row), str(field(row, ("category",), f"question {_id(row)}"))
        if split not in labels:
            continue  # its labels were not given: the answer will be one without a question
        key = (split, str(field(row, ("image",), f"question {name}")), _word(row))
        if not keyed.get(key):
            raise TaskError(f"question {name}: the {split} annotations do not ask {key[2]!r} of {key[1]}")
        found[name] = (split, keyed[key].pop(0))
    # questions of the annotations that LLaVA's file does not have (the random file grew to 3,000)
    for (split, _, _), rows in keyed.items():
        found.update({f"{split} {row['question_id']}": (split, row) for row in rows})
    return found


def _word(row: Mapping[str, Any]) -> str:
    """The question for comparing: either spelling, any case."""
    return re.sub(r"\bimange\b", "image", _bare(str(row["text"])).lower())


def _numbered(
    asked: Mapping[str, Mapping[str, Any]], labels: Mapping[str, Rows]
) -> dict[str, tuple[str, dict[str, Any]]]:
    """Question id -> (split, label row), by LLaVA's numbers; the words of the prompts must agree."""
    found = {}
    for number, split in _NUMBERED.items():
        for row in labels.get(split, []):
            found[str(number * _STEP + int(row["question_id"]))] = (split, row)
    both = [name for name in found if "prompt" in asked.get(name, {})]
    agree = sum(_word({"text": asked[name]["prompt"]}) == _word(found[name][1]) for name in both)
    if agree < len(both):
        raise TaskError(
            f"{len(both) - agree} of {len(both)} prompts ask something else than the annotations of the same number:"
            " other files than those that were answered? Pass LLaVA's llava_pope_test.jsonl as well"
        )
    return found
