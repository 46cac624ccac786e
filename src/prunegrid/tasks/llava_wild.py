"""LLaVA-Bench (In-the-Wild): a judge gives a reference and the answer 1 to 10 each; the score is the ratio of means.

Source: llava/eval/eval_gpt_review_bench.py and summarize_gpt_review.py at c121f043. Printed LLaVA-1.5 numbers are
means over three runs of the judge. The script rounds both means to three decimals before it divides, which can
decide the printed digit (the first published run of the 7B model: 64.747, and 64.751 without). It also counts a
judgement that it could not read as -1 to -1, so that an outage looks like a draw; `strict` leaves that out, and
both modes say how many there are.
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

CATEGORIES = ("conv", "detail", "complex")
_PREFIX = "llava_bench_"
UNREAD = (-1.0, -1.0)
GIVEN, REFERENCE, CANDIDATE, UNPARSED = range(4)  # columns of one category
DECIMALS = 3  # of the means, in the script


@dataclass(frozen=True, kw_only=True)
class LlavaWild(Task):
    """Rows: answer = reference text; category "conv" | "detail" | "complex"; caption (what the judge is told).

    A judgement is (points of the reference, points of the answer); (-1, -1) or None was not readable.
    """

    version: ClassVar[str] = "1"
    primary: ClassVar[str] = "score"
    needs: ClassVar[Mapping[str, Kinds]] = {"answer": str, "category": str, "caption": str}

    runs: int = 1

    def check(self, row: Row, where: str) -> None:
        if row["category"] not in CATEGORIES:
            raise TaskError(f"{where}: category {row['category']!r} must be one of {', '.join(CATEGORIES)}")

    def prepare(self, rows: list[Row]) -> list[Row]:
        return with_question(rows)

    def verdict(self, record: Record, text: str, mode: Mode) -> Mapping[str, Any]:
        """{category, points: per run [reference, answer] or None, unread: per run}."""
        given = [UNREAD if pair is None else tuple(pair) for pair in judgements(record, self.runs)]
        unread = [pair == UNREAD for pair in given]
        points = [None if mode == "strict" and pair == UNREAD else list(pair) for pair in given]
        return {"category": record.meta["category"], "points": points, "unread": unread}

    def tally(self, judged: Sequence[Mapping[str, Any]]) -> Array:
        """[n, runs * 3 categories * 4]: judgements, points of references and of answers, unreadable ones."""
        rows = np.zeros((len(judged), self.runs, len(CATEGORIES), 4))
        for row, judgement in zip(rows, judged, strict=True):
            column = row[:, CATEGORIES.index(judgement["category"])]
            for cell, points, unread in zip(column, judgement["points"], judgement["unread"], strict=True):
                if points is not None:
                    cell[:UNPARSED] = 1, *points
                cell[UNPARSED] = unread
        return rows.reshape(len(judged), -1)

    def measures(self, counts: Array) -> Mapping[str, Array]:
        """In [0, 1] or a little above: score = mean over runs of mean of answers / mean of references, both means
        rounded as the script does; score_exact without rounding; score_<category> and score_run<k> as score.
        unparsed: judgements that were not readable (a count).
        """
        table = counts.reshape(*counts.shape[:-1], self.runs, len(CATEGORIES), 4)
        every = table.sum(axis=-2)
        runs, kinds = _rounded(every), _rounded(table).mean(axis=-2)
        return {
            "score": runs.mean(axis=-1),
            "score_exact": ratio(every[..., CANDIDATE], every[..., REFERENCE]).mean(axis=-1),
            **{f"score_{name}": kinds[..., i] for i, name in enumerate(CATEGORIES)},
            **{f"score_run{i + 1}": runs[..., i] for i in range(self.runs)},
            "unparsed": every[..., UNPARSED].sum(axis=-1),
        }


def _rounded(table: Array) -> Array:
    """Mean of answers / mean of references, [...] of [..., 4], each mean rounded as Python rounds."""
    means = (ratio(table[..., column], table[..., GIVEN]) for column in (CANDIDATE, REFERENCE))
    return ratio(*(np.vectorize(lambda mean: round(mean, DECIMALS), otypes=[float])(m) for m in means))


def category(name: str) -> str:
    """ "llava_bench_conv" -> "conv"."""
    short = name.removeprefix(_PREFIX)
    if short not in CATEGORIES:
        raise TaskError(f"category {name!r} must be one of {', '.join(_PREFIX + c for c in CATEGORIES)}")
    return short
