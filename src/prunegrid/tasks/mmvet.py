"""MM-Vet: a judge gives each answer 0.0 to 1.0; the score is 100 * the mean, in all and per capability.

Source: the benchmark's evaluator (mm-vet_evaluator), scripts/convert_mmvet_for_eval.py of LLaVA at c121f043.
A question may need several capabilities and counts for each of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from prunegrid.tasks.base import Array, Mode, Record, Task
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.judged import judgements, with_question
from prunegrid.tasks.ratios import ratio
from prunegrid.tasks.rows import Kinds, Row

CAPABILITIES = ("rec", "ocr", "know", "gen", "spat", "math")


@dataclass(frozen=True, kw_only=True)
class MmVet(Task):
    """Rows: answer = reference text; capability = list of rec, ocr, know, gen, spat, math.

    A judgement is a number in [0, 1]; None was not given and is left out of the mean, and counted.
    """

    version: ClassVar[str] = "1"
    primary: ClassVar[str] = "score"
    needs: ClassVar[Mapping[str, Kinds]] = {"answer": str, "capability": list}

    runs: int = 1

    def check(self, row: Row, where: str) -> None:
        if not row["capability"] or not set(row["capability"]) <= set(CAPABILITIES):
            raise TaskError(
                f"{where}: capability {row['capability']!r} must list some of {', '.join(CAPABILITIES)}"
            )

    def prepare(self, rows: list[Row]) -> list[Row]:
        return with_question(rows)

    def verdict(self, record: Record, text: str, mode: Mode) -> Mapping[str, Any]:
        """{capability, points: per run a number or None}; nothing is guessed, so the modes agree."""
        points = judgements(record, self.runs)
        for number in points:
            if number is not None and not 0 <= number <= 1:
                raise TaskError(f"record {record.id!r}: judgement {number!r} is not between 0 and 1")
        return {"capability": list(record.meta.get("capability") or ()), "points": points}

    def tally(self, judged: Sequence[Mapping[str, Any]]) -> Array:
        """[n, runs * (2 + 2 * 6) + 1]: judged questions and points, in all and per capability; failed ones."""
        rows = np.zeros((len(judged), self.runs, 1 + len(CAPABILITIES), 2))
        failed = np.zeros((len(judged), 1))
        for row, miss, judgement in zip(rows, failed, judged, strict=True):
            columns = [0, *(1 + CAPABILITIES.index(name) for name in judgement["capability"])]
            for cell, points in zip(row, judgement["points"], strict=True):
                if points is None:
                    miss += 1
                else:
                    cell[columns] = 1, points
        return np.concatenate([rows.reshape(len(judged), -1), failed], axis=1)

    def measures(self, counts: Array) -> Mapping[str, Array]:
        """In [0, 1]: score (mean over runs), score_<capability>, score_run<k>; unparsed is a count."""
        table = counts[..., :-1].reshape(*counts.shape[:-1], self.runs, 1 + len(CAPABILITIES), 2)
        means = ratio(table[..., 1], table[..., 0])
        over = means.mean(axis=-2)
        return {
            "score": over[..., 0],
            **{f"score_{name}": over[..., 1 + i] for i, name in enumerate(CAPABILITIES)},
            **{f"score_run{i + 1}": means[..., i, 0] for i in range(self.runs)},
            "unparsed": counts[..., -1],
        }
