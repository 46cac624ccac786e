"""SEED-Bench-1: four lettered choices over images and, as one middle frame, videos.

Source: llava/eval/convert_seed_for_submission.py at c121f043: right is a text that IS the letter. (Taking its
first character instead would make "A photo" an A.) Which questions there are depends on the cut of the file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from prunegrid.tasks.base import Array, Mode, Record, Task
from prunegrid.tasks.choices import LETTERS, check_choices, option_lines
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.ratios import ratio
from prunegrid.tasks.rows import Kinds, Row

DATA_TYPES = ("image", "video")


@dataclass(frozen=True, kw_only=True)
class Seed(Task):
    """Rows: choices [text, ...]; answer "A"..; data_type "image" | "video"; type (where the task names types)."""

    version: ClassVar[str] = "1"
    primary: ClassVar[str] = "accuracy"
    needs: ClassVar[Mapping[str, Kinds]] = {"choices": list, "answer": str, "data_type": str}

    types: tuple[str, ...] = ()

    def check(self, row: Row, where: str) -> None:
        check_choices(row["choices"], where)
        letters = LETTERS[: len(row["choices"])]
        if len(row["answer"]) != 1 or row["answer"] not in letters:
            raise TaskError(f"{where}: answer {row['answer']!r} must be a letter of {letters}")
        if row["data_type"] not in DATA_TYPES:
            raise TaskError(f"{where}: data_type {row['data_type']!r} must be image or video")
        if self.types and row.get("type") not in self.types:
            raise TaskError(f"{where}: type {row.get('type')!r} must be one of {', '.join(self.types)}")

    def fields(self, row: Row) -> Mapping[str, object]:
        return {**row, "options": option_lines(row["choices"])}

    def verdict(self, record: Record, text: str, mode: Mode) -> Mapping[str, Any]:
        """{data_type, prediction: letter | None, correct}. Nothing is guessed, so the modes agree."""
        letter = text if len(text) == 1 and text in LETTERS else None
        return {
            "data_type": record.meta["data_type"],
            "type": record.meta.get("type"),
            "prediction": letter,
            "correct": letter == record.answer,
        }

    def tally(self, judged: Sequence[Mapping[str, Any]]) -> Array:
        """[n, 5 + 2 * types]: image questions and right ones, video questions and right ones, unparsed;
        then questions and right ones of each type."""
        rows = np.zeros((len(judged), 5 + 2 * len(self.types)))
        for row, judgement in zip(rows, judged, strict=True):
            at = 2 * DATA_TYPES.index(judgement["data_type"])
            row[at : at + 2] = 1, judgement["correct"]
            row[4] = judgement["prediction"] is None
            if self.types:
                at = 5 + 2 * self.types.index(judgement["type"])
                row[at : at + 2] = 1, judgement["correct"]
        return rows

    def measures(self, counts: Array) -> Mapping[str, Array]:
        """In [0, 1]: accuracy (all), accuracy_image, accuracy_video, unparsed, accuracy_<type>."""
        image, image_right, video, video_right, unparsed = (counts[..., i] for i in range(5))
        kinds = {
            f"accuracy_{name}": ratio(counts[..., 6 + 2 * i], counts[..., 5 + 2 * i])
            for i, name in enumerate(self.types)
        }
        return {
            "accuracy": ratio(image_right + video_right, image + video),
            "accuracy_image": ratio(image_right, image),
            "accuracy_video": ratio(video_right, video),
            "unparsed": ratio(unparsed, image + video),
            **kinds,
        }
