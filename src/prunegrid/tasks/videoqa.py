"""MSVD-QA, MSRVTT-QA and ActivityNet-QA: short answers about a video.

Printed numbers come from a chat model that says yes or no and gives 0 to 5 (Video-ChatGPT's evaluation, as in
Video-LLaVA 984e65b): accuracy = yes / (yes + no), points = mean. Versions of the judge differ by several points,
so compare only what one judge judged. Without a judge, the equality of normalised texts is what papers printed
before there were chat models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from prunegrid.tasks.base import Array, Mode, Record, Task
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.judged import KEY, judgements, with_question
from prunegrid.tasks.ratios import ratio
from prunegrid.tasks.rows import Kinds, Row
from prunegrid.tasks.text import m4c


@dataclass(frozen=True, kw_only=True)
class VideoQa(Task):
    """Rows: answer text; cluster = the video. A judgement is {"pred": "yes" | "no", "score": 0..5} or None."""

    version: ClassVar[str] = "1"
    primary: ClassVar[str] = "exact_match"
    needs: ClassVar[Mapping[str, Kinds]] = {"answer": str}

    runs: int = 0

    def prepare(self, rows: list[Row]) -> list[Row]:
        return with_question(rows)

    def verdict(self, record: Record, text: str, mode: Mode) -> Mapping[str, Any]:
        """{prediction, exact, judged: per run [right, points] or None}; strict: nothing said is never right."""
        said = m4c(text)
        exact = said == m4c(record.answer) and (mode == "official" or bool(said))
        given = judgements(record, self.runs) if self.runs or KEY in record.meta else []
        return {"prediction": said, "exact": exact, "judged": [_read(record, one) for one in given]}

    def tally(self, judged: Sequence[Mapping[str, Any]]) -> list[list[float]]:
        """[n, 6]: questions, exact; judgements, right ones, points; failed judgements (runs together)."""
        rows = []
        for row in judged:
            good = [pair for pair in row["judged"] if pair is not None]
            right, points = sum(pair[0] for pair in good), sum(pair[1] for pair in good)
            rows.append([1, row["exact"], len(good), right, points, len(row["judged"]) - len(good)])
        return rows

    def measures(self, counts: Array) -> Mapping[str, Array]:
        """exact_match, judge_accuracy in [0, 1]; judge_points in [0, 5]; unparsed (a count)."""
        asked, exact, given, right, points, failed = (counts[..., i] for i in range(6))
        return {
            "exact_match": ratio(exact, asked),
            "judge_accuracy": ratio(right, given),
            "judge_points": ratio(points, given),
            "unparsed": failed,
        }


def _read(record: Record, one: Mapping[str, Any] | None) -> list[float] | None:
    if one is None:
        return None
    said, points = str(one.get("pred", "")).strip().lower(), one.get("score")
    if said not in ("yes", "no") or isinstance(points, bool) or not isinstance(points, int | float):
        raise TaskError(f"record {record.id!r}: judgement {dict(one)!r} needs pred yes or no, and a score")
    return [float(said == "yes"), float(points)]
