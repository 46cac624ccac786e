"""MMBench: lettered choices asked once per rotation; a question is right only if all its rotations are.

Source: llava/eval/model_vqa_mmbench.py at c121f043. The benchmark's server compares letters and asks a chat
model only where it finds none; comparing the letter alone gives the published dev score of LLaVA-1.5-13B.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from prunegrid.tasks.base import Array, Mode, Record, Task
from prunegrid.tasks.choices import LETTERS, check_choices, option_lines
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.groups import collect
from prunegrid.tasks.ratios import ratio
from prunegrid.tasks.rows import Kinds, Row

ROWS, ROWS_RIGHT, GROUPS, GROUPS_RIGHT, FIRST_RIGHT, UNPARSED = range(6)


@dataclass(frozen=True, kw_only=True)
class MmBench(Task):
    """Rows, already rotated: choices [text, ...]; answer "A"..; group (base question); hint (optional)."""

    version: ClassVar[str] = "1"
    primary: ClassVar[str] = "circular"
    needs: ClassVar[Mapping[str, Kinds]] = {"choices": list, "answer": str, "group": str}

    def check(self, row: Row, where: str) -> None:
        check_choices(row["choices"], where)
        letters = LETTERS[: len(row["choices"])]
        if len(row["answer"]) != 1 or row["answer"] not in letters:
            raise TaskError(f"{where}: answer {row['answer']!r} must be a letter of {letters}")

    def prepare(self, rows: list[Row]) -> list[Row]:
        members: dict[str, list[str]] = {}
        for row in rows:
            members.setdefault(row["group"], []).append(row["id"])
        placed = []
        for row in rows:
            group = members[row["group"]]
            placed.append({**row, "group_size": len(group), "rotation": group.index(row["id"])})
        collect(placed, key="group")
        return placed

    def fields(self, row: Row) -> Mapping[str, object]:
        context = f"{row['hint']}\n" if row.get("hint") else ""
        return {**row, "context": context, "options": option_lines(row["choices"])}

    def verdict(self, record: Record, text: str, mode: Mode) -> Mapping[str, Any]:
        """{group, group_size, rotation, prediction: letter | None, correct}; the modes agree: no guesses."""
        letter = text if len(text) == 1 and text in LETTERS else None
        group = {key: record.meta[key] for key in ("group", "group_size", "rotation")}
        return {**group, "prediction": letter, "correct": letter == record.answer}

    def tally(self, judged: Sequence[Mapping[str, Any]]) -> Array:
        """[n, 6]; the first row of a group carries the group."""
        rows = np.zeros((len(judged), 6))
        rows[:, ROWS] = 1
        rows[:, ROWS_RIGHT] = [row["correct"] for row in judged]
        rows[:, FIRST_RIGHT] = [row["correct"] and row["rotation"] == 0 for row in judged]
        rows[:, UNPARSED] = [row["prediction"] is None for row in judged]
        for positions in collect(judged, key="group"):
            first = positions[0]
            rows[first, GROUPS] = 1
            rows[first, GROUPS_RIGHT] = all(judged[position]["correct"] for position in positions)
        return rows

    def measures(self, counts: Array) -> Mapping[str, Array]:
        """In [0, 1]: circular; first (rotation 0 only); rows (every row for itself); unparsed."""
        return {
            "circular": ratio(counts[..., GROUPS_RIGHT], counts[..., GROUPS]),
            "first": ratio(counts[..., FIRST_RIGHT], counts[..., GROUPS]),
            "rows": ratio(counts[..., ROWS_RIGHT], counts[..., ROWS]),
            "unparsed": ratio(counts[..., UNPARSED], counts[..., ROWS]),
        }
