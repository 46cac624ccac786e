"""ScienceQA: lettered choices; tables print the accuracy on the 2,017 test questions that have an image.

Source: llava/eval/eval_science_qa.py and model_vqa_science.py at c121f043; data at ScienceQA 2cbf831.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from prunegrid.tasks.base import Array, Mode, Record, Task
from prunegrid.tasks.choices import LETTERS, check_choices, option_lines
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.ratios import ratio
from prunegrid.tasks.rows import Kinds, Row

OPTIONS = "ABCDE"
# the last "." is any character in the original, so a letter that ends the text is not found
_SENTENCE = re.compile(r"The answer is ([A-Z]).")


@dataclass(frozen=True, kw_only=True)
class ScienceQa(Task):
    """Rows: choices [text, ...]; answer = index of the right one; hint (optional text)."""

    version: ClassVar[str] = "1"
    primary: ClassVar[str] = "img_accuracy"
    needs: ClassVar[Mapping[str, Kinds]] = {"choices": list, "answer": int}

    def check(self, row: Row, where: str) -> None:
        check_choices(row["choices"], where)
        if not 0 <= row["answer"] < len(row["choices"]):
            raise TaskError(f"{where}: answer {row['answer']!r} is no index of {len(row['choices'])} choices")

    def fields(self, row: Row) -> Mapping[str, object]:
        context = f"Context: {row['hint']}\n" if row.get("hint") else ""
        return {**row, "context": context, "options": option_lines(row["choices"])}

    def verdict(self, record: Record, text: str, mode: Mode) -> Mapping[str, Any]:
        """{image, prediction: letter | None, correct}. Nothing is guessed officially, so the modes agree."""
        letter = parse_letter(text)
        correct = letter == LETTERS[record.answer]  # a letter that no choice has is wrong of itself
        return {"image": record.meta["image"] is not None, "prediction": letter, "correct": correct}

    def tally(self, judged: Sequence[Mapping[str, Any]]) -> list[list[float]]:
        """[n, 5]: questions and right ones with image, questions and right ones without, unparsed."""
        rows = []
        for row in judged:
            answered = [1, row["correct"]]
            asked = [*answered, 0, 0] if row["image"] else [0, 0, *answered]
            rows.append([*asked, row["prediction"] is None])
        return rows

    def measures(self, counts: Array) -> Mapping[str, Array]:
        """In [0, 1]: img_accuracy, text_accuracy (without image), accuracy (all), unparsed."""
        image, image_right, text, text_right, unparsed = (counts[..., i] for i in range(5))
        return {
            "img_accuracy": ratio(image_right, image),
            "text_accuracy": ratio(text_right, text),
            "accuracy": ratio(image_right + text_right, image + text),
            "unparsed": ratio(unparsed, image + text),
        }


def parse_letter(text: str) -> str | None:
    """The text is a letter A-E; or starts with one and ". "; or says "The answer is X." exactly once."""
    if len(text) == 1 and text in OPTIONS:
        return text
    if len(text) >= 3 and text[0] in OPTIONS and text[1:3] == ". ":
        return text[0]
    found = _SENTENCE.findall(text)
    return found[0] if len(found) == 1 else None
