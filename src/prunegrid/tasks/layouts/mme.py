"""MME: LLaVA's answers beside the benchmark's labels, or the eval tool's own folder.

Sources: convert_answer_to_mme.py and llava_mme.jsonl of LLaVA's evaluation files; the eval tool of Awesome-MLLM
(a folder of <sub-task>.txt with image, question, label and, where it holds answers, the answer, by tabs).
The benchmark writes the question whose answer is yes before the one whose answer is no. Where only LLaVA's
question file is given, which keeps that order and has no labels, they are taken from it, and a note says so.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunegrid.tasks.base import Record
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.layouts.answered import Answered, join
from prunegrid.tasks.layouts.files import ident, once, read_rows, read_text, text_of
from prunegrid.tasks.mme import Mme

TASK = Mme(file="mme.jsonl", prompt="{question}")
_ENDINGS = re.compile(
    r"\s*(Please answer yes or no\.|Answer the question using a single word or phrase\.)\s*"
)
_BY_ORDER = (
    "labels by the benchmark's order (yes before no); pass the eval tool's folder to use its own labels"
)


@dataclass(frozen=True)
class Line:
    """One question: where it belongs, what is asked, the label ("" = unknown) and the answer (None = unknown)."""

    subtask: str
    image: str
    question: str
    label: str
    answer: str | None = None

    @property
    def key(self) -> str:
        return f"{self.subtask}/{self.image}: {self.question}"


def read(answers: Sequence[Path], annotations: Sequence[Path]) -> Answered:
    """Answers: LLaVA's jsonl, or a folder of the eval tool with answers (its labels are then used).

    Annotations: a folder of the eval tool, MME_Benchmark_release_version, and/or llava_mme.jsonl.
    """
    said = [line for path in answers for line in _lines(path)]
    given = [line for path in annotations for line in _lines(path)]
    labelled = [line for line in given if line.label] or [line for line in said if line.label]
    notes = []
    if not labelled:
        if not given:
            raise TaskError("no labels: pass the eval tool's folder, the benchmark's, or llava_mme.jsonl")
        labelled, notes = list(_by_order(given)), [_BY_ORDER]
    if any(line.answer is None for line in said):
        raise TaskError(
            "the answers hold questions and labels only: pass the folder or file with the answers"
        )
    texts = once(((line.key, str(line.answer)) for line in said), "answers")
    made = join(TASK, _questions(labelled), texts, notes=notes)
    absent = [name for name in TASK.subtasks if name not in {line.subtask for line in labelled}]
    return Answered(TASK, made.records, [*made.missing, *absent], made.unknown, made.notes)


def _lines(path: Path) -> Iterator[Line]:
    if path.is_file():
        yield from map(_row, read_rows(path))
        return
    if not path.is_dir():
        raise TaskError(f"{path}: no such file or folder")
    tool = sorted(path.glob("*.txt"))
    if tool:
        for file in tool:
            if file.stem in TASK.subtasks:
                yield from _tool(file)
        return
    pairs = [f for name in TASK.subtasks for f in sorted((path / name).rglob("*.txt"))]
    if not pairs:
        raise TaskError(f"{path}: neither <sub-task>.txt of the eval tool nor <sub-task>/ folders with .txt")
    for file in pairs:
        yield from _release(file, file.relative_to(path).parts[0])


def _row(row: dict[str, Any]) -> Line:
    """A row of LLaVA's answers (prompt, text) or of its question file (text)."""
    name = ident(row, ("question_id",), "MME row")
    where = f"question {name}"
    subtask = name.split("/")[0]
    if subtask not in TASK.subtasks:
        raise TaskError(f"{where}: sub-task {subtask!r} must be one of {', '.join(TASK.subtasks)}")
    answered = "prompt" in row
    asked = text_of(row, ("prompt",) if answered else ("text",), where)
    answer = text_of(row, ("text",), where) if answered else None
    return Line(subtask, _stem(name), _bare(asked), "", answer)


def _tool(file: Path) -> Iterator[Line]:
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        parts = line.split("\t")
        where = f"{file} line {number}"
        if not line.strip():
            continue
        if len(parts) not in (3, 4):
            raise TaskError(
                f"{where}: {len(parts)} columns; image, question, label and answer are needed, with no tab in them"
            )
        answer = parts[3] if len(parts) == 4 else None
        yield Line(file.stem, _stem(parts[0]), _bare(parts[1]), _label(parts[2], where), answer)


def _release(file: Path, subtask: str) -> Iterator[Line]:
    for number, line in enumerate(read_text(file).strip().split("\n"), start=1):
        parts = line.strip().split("\t")
        if len(parts) != 2:
            raise TaskError(f"{file} line {number}: question and label by a tab are needed, not {line!r}")
        yield Line(subtask, _stem(file.name), _bare(parts[0]), _label(parts[1], f"{file} line {number}"))


def _label(text: str, where: str) -> str:
    label = text.strip().lower()
    if label not in ("yes", "no"):
        raise TaskError(f"{where}: label {text!r} must be yes or no")
    return label


def _stem(name: str) -> str:
    return name.split("/")[-1].split(".")[0]


def _bare(question: str) -> str:
    """The question without the endings that the benchmark and LLaVA put behind it."""
    return " ".join(_ENDINGS.sub(" ", question).split())


def _by_order(lines: list[Line]) -> Iterator[Line]:
    for first, second in _pairs(lines):
        yield Line(first.subtask, first.image, first.question, "yes")
        yield Line(second.subtask, second.image, second.question, "no")


def _pairs(lines: list[Line]) -> Iterator[tuple[Line, Line]]:
    """The two questions of each image, as they stand one after the other. TaskError for half a pair."""
    images: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        images.setdefault((line.subtask, line.image), []).append(line)
    for (subtask, image), asked in images.items():
        if len(asked) % 2:
            raise TaskError(
                f"{subtask}/{image}: {len(asked)} questions; the benchmark asks two of each image"
            )
        yield from zip(asked[::2], asked[1::2], strict=True)


def _questions(lines: list[Line]) -> Iterator[Record]:
    for first, second in _pairs(lines):
        pair = f"{first.key}"
        for line in (first, second):
            meta = {"subtask": line.subtask, "pair": pair}
            yield Record(line.key, f"{line.subtask}/{line.image}", "", line.label, meta)
