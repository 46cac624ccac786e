"""MME: two yes/no questions per image in 14 sub-tasks; a sub-task scores 100 * acc + 100 * acc+.

acc+ is the share of pairs with both questions right. Source: the eval tool of Awesome-MLLM (branch
Evaluation) and llava/eval/convert_answer_to_mme.py at c121f043. Tables print the perception sum (max 2000),
some perception + cognition, some perception / 20.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from prunegrid.tasks.base import Array, Mode, Record, Task
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.groups import collect
from prunegrid.tasks.ratios import ratio
from prunegrid.tasks.rows import Kinds, Row
from prunegrid.tasks.yesno import strict_yes_no

PERCEPTION = (
    "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR",
)  # fmt: skip
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
SUFFIX = "Please answer yes or no."  # in the benchmark's files; LLaVA's question file has it removed
ASKED, RIGHT, PAIRS, BOTH, UNPARSED = range(5)  # columns of one sub-task


@dataclass(frozen=True, kw_only=True)
class Mme(Task):
    """Rows: answer "yes" | "no"; subtask; two per (image, subtask), or per `pair` where rows have one."""

    version: ClassVar[str] = "1"
    primary: ClassVar[str] = "perception"
    unit: ClassVar[str] = "points"
    needs: ClassVar[Mapping[str, Kinds]] = {"subtask": str, "answer": str}

    perception: tuple[str, ...] = PERCEPTION
    cognition: tuple[str, ...] = COGNITION

    @property
    def subtasks(self) -> tuple[str, ...]:
        return self.perception + self.cognition

    @property
    def scale(self) -> float:
        return 200.0 * len(self.perception)

    def check(self, row: Row, where: str) -> None:
        if row["answer"] not in ("yes", "no"):
            raise TaskError(f"{where}: answer {row['answer']!r} must be yes or no")
        if row["subtask"] not in self.subtasks:
            raise TaskError(f"{where}: subtask {row['subtask']!r} must be one of {', '.join(self.subtasks)}")
        if row["image"] is None and "pair" not in row:
            raise TaskError(f"{where}: a row without image needs a field 'pair' to find its other question")

    def prepare(self, rows: list[Row]) -> list[Row]:
        paired = [{**row, "pair": f"{row['subtask']}/{row.get('pair', row['image'])}"} for row in rows]
        collect(paired, key="pair", size=2)
        return paired

    def fields(self, row: Row) -> Mapping[str, object]:
        return {**row, "question": row["question"].removesuffix(SUFFIX).rstrip()}

    def verdict(self, record: Record, text: str, mode: Mode) -> Mapping[str, Any]:
        """{subtask, pair, prediction: "yes" | "no" | None, correct}; None is wrong in both modes."""
        prediction = official_answer(text) if mode == "official" else strict_yes_no(text)
        return {
            "subtask": record.meta["subtask"],
            "pair": record.meta["pair"],
            "prediction": prediction,
            "correct": prediction == record.answer,
        }

    def tally(self, judged: Sequence[Mapping[str, Any]]) -> Array:
        """[n, subtasks * 5]; the first row of a pair carries the pair."""
        rows = np.zeros((len(judged), len(self.subtasks), 5))
        for row, judgement in zip(rows, judged, strict=True):
            cell = row[self.subtasks.index(judgement["subtask"])]
            cell[ASKED] = 1
            cell[RIGHT] = judgement["correct"]
            cell[UNPARSED] = judgement["prediction"] is None
        for first, second in collect(judged, key="pair", size=2):
            cell = rows[first, self.subtasks.index(judged[first]["subtask"])]
            cell[PAIRS] = 1
            cell[BOTH] = judged[first]["correct"] and judged[second]["correct"]
        return rows.reshape(len(judged), -1)

    def measures(self, counts: Array) -> Mapping[str, Array]:
        """perception, cognition, total and each sub-task in points; acc and acc+ over all rows in [0, 1].

        A sub-task without questions adds nothing to a sum.
        """
        split = counts.reshape(*counts.shape[:-1], len(self.subtasks), 5)
        acc = ratio(split[..., RIGHT], split[..., ASKED])
        points = 100 * acc + 100 * ratio(split[..., BOTH], split[..., PAIRS])
        every = split.sum(axis=-2)
        cut = len(self.perception)
        return {
            "perception": _sum(points[..., :cut]),
            "cognition": _sum(points[..., cut:]),
            "total": _sum(points),
            "acc": ratio(every[..., RIGHT], every[..., ASKED]),
            "acc+": ratio(every[..., BOTH], every[..., PAIRS]),
            "unparsed": ratio(every[..., UNPARSED], every[..., ASKED]),
            **{name: points[..., i] for i, name in enumerate(self.subtasks)},
        }


def official_answer(text: str) -> str | None:
    """The one of yes and no, in any case, that the first four characters hold (both do not fit)."""
    start = text.lower()[:4]
    return next((word for word in ("yes", "no") if word in start), None)


def _sum(points: Array) -> Array:
    """Sum over the last axis of what is not NaN; NaN if nothing is left (no sub-task of that kind)."""
    known = ~np.isnan(points)
    return np.where(known.any(axis=-1), np.where(known, points, 0).sum(axis=-1), np.nan)
