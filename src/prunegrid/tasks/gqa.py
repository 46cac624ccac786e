"""GQA: one-word answers, exact match.

Source: scripts/v1_5/eval/gqa.sh and convert_gqa_for_eval.py at c121f043 (a trailing period and upper case are
taken off the prediction); the benchmark's eval.py. Testdev has no scene graphs, so its validity and
plausibility do not exist here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from prunegrid.tasks.base import Array, Mode, Record, Task
from prunegrid.tasks.ratios import ratio
from prunegrid.tasks.rows import Kinds


@dataclass(frozen=True, kw_only=True)
class Gqa(Task):
    """Rows: answer text; structural = structural type of the question ("query" is open, others binary)."""

    version: ClassVar[str] = "1"
    primary: ClassVar[str] = "accuracy"
    needs: ClassVar[Mapping[str, Kinds]] = {"answer": str, "structural": str}

    def verdict(self, record: Record, text: str, mode: Mode) -> Mapping[str, Any]:
        """{open, prediction, correct}; strict: an empty prediction is wrong."""
        prediction = text.rstrip(".").lower()
        correct = prediction == record.answer and (mode == "official" or bool(prediction))
        return {"open": record.meta["structural"] == "query", "prediction": prediction, "correct": correct}

    def tally(self, judged: Sequence[Mapping[str, Any]]) -> list[list[float]]:
        """[n, 4]: open questions and right ones, binary questions and right ones."""
        rows = []
        for row in judged:
            answered = [1, row["correct"]]
            rows.append([*answered, 0, 0] if row["open"] else [0, 0, *answered])
        return rows

    def measures(self, counts: Array) -> Mapping[str, Array]:
        """In [0, 1]: accuracy, binary, open."""
        opened, open_right, binary, binary_right = (counts[..., i] for i in range(4))
        return {
            "accuracy": ratio(open_right + binary_right, opened + binary),
            "binary": ratio(binary_right, binary),
            "open": ratio(open_right, opened),
        }
