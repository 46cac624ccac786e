"""VQA soft accuracy: how many of the ten people who were asked gave this answer.

For each reference answer i: min(1, number of OTHER references equal to the prediction / 3); the score is the
mean over i, so that k agreeing answers of ten give 0, .3, .6, .9, 1 for k = 0, 1, 2, 3, 4 and more.
Source: llava/eval/m4c_evaluator.py at c121f043; vqaEval.py of the VQA toolkit at a013f00.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from prunegrid.tasks.base import Array, Mode, Record, Task
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.ratios import ratio
from prunegrid.tasks.rows import Kinds, Row
from prunegrid.tasks.text import blanks, m4c, vqa_official

Evaluator = Literal["m4c", "vqa_official"]
REFERENCES = 10


def agreement(prediction: str, references: Sequence[str]) -> float:
    """Soft accuracy, in [0, 1], of texts that are already normalised."""
    same = sum(reference == prediction for reference in references)
    other = len(references) - same
    return (same * min(1.0, (same - 1) / 3) + other * min(1.0, same / 3)) / len(references)


def normalised(text: str, references: Sequence[str], evaluator: Evaluator) -> tuple[str, list[str]]:
    """Prediction and references as `evaluator` compares them.

    The VQA toolkit leaves both as they are where all references are the same text.
    """
    if evaluator == "m4c":
        return m4c(text), [m4c(reference) for reference in references]
    text, references = blanks(text), [blanks(reference) for reference in references]
    if len(set(references)) == 1:
        return text, references
    return vqa_official(text), [vqa_official(reference) for reference in references]


@dataclass(frozen=True, kw_only=True)
class SoftAccuracy(Task):
    """Rows: answer = list of 10 texts; type (one of `types`, where the task names types)."""

    version: ClassVar[str] = "1"
    primary: ClassVar[str] = "accuracy"
    needs: ClassVar[Mapping[str, Kinds]] = {"answer": list}

    types: tuple[str, ...] = ()
    evaluator: Evaluator = "m4c"

    def __post_init__(self) -> None:
        if self.evaluator not in ("m4c", "vqa_official"):
            raise TaskError(f"evaluator {self.evaluator!r}: must be m4c or vqa_official")

    def check(self, row: Row, where: str) -> None:
        answers = row["answer"]
        if len(answers) != REFERENCES or not all(isinstance(answer, str) for answer in answers):
            raise TaskError(f"{where}: answer must be a list of {REFERENCES} texts, not {answers!r}")
        if self.types and row.get("type") not in self.types:
            raise TaskError(f"{where}: type {row.get('type')!r} must be one of {', '.join(self.types)}")

    def verdict(self, record: Record, text: str, mode: Mode) -> Mapping[str, Any]:
        """{type, prediction: normalised text, score}; strict: a text of which nothing is left scores 0."""
        # what LLaVA uploads to the VQA server has gone through m4c
        said = m4c(text) if self.evaluator == "vqa_official" else text
        prediction, references = normalised(said, record.answer, self.evaluator)
        score = agreement(prediction, references)
        if mode == "strict" and not prediction:
            score = 0.0
        return {"type": record.meta.get("type"), "prediction": prediction, "score": score}

    def tally(self, judged: Sequence[Mapping[str, Any]]) -> Array:
        """[n, 2 + 2 * types + 1]: questions and points of all, then of each type; empty predictions."""
        rows = np.zeros((len(judged), 2 * len(self.types) + 3))
        for row, judgement in zip(rows, judged, strict=True):
            row[:2] = 1, judgement["score"]
            if self.types:
                at = 2 + 2 * self.types.index(judgement["type"])
                row[at : at + 2] = 1, judgement["score"]
            row[-1] = not judgement["prediction"]
        return rows

    def measures(self, counts: Array) -> Mapping[str, Array]:
        """In [0, 1]: accuracy, accuracy_<type>, empty (share of predictions of which nothing is left)."""
        measures = {"accuracy": ratio(counts[..., 1], counts[..., 0])}
        for i, name in enumerate(self.types):
            measures[f"accuracy_{name}"] = ratio(counts[..., 3 + 2 * i], counts[..., 2 + 2 * i])
        measures["empty"] = ratio(counts[..., -1], counts[..., 0])
        return measures
