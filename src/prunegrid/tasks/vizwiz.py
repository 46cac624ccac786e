"""VizWiz: questions of blind people; many cannot be answered, so the score rises when a model sees less.

Hence accuracy on answerable and unanswerable questions apart, and how often "unanswerable" is said.
Source: scripts/v1_5/eval/vizwiz.sh, convert_vizwiz_for_submission.py and m4c_evaluator.py at c121f043.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from prunegrid.tasks.base import Array
from prunegrid.tasks.ratios import ratio
from prunegrid.tasks.rows import Kinds
from prunegrid.tasks.soft import SoftAccuracy

UNANSWERABLE = "unanswerable"


@dataclass(frozen=True, kw_only=True)
class VizWiz(SoftAccuracy):
    """Rows: answer = list of 10 texts; type = answer type ("unanswerable" is one)."""

    version: ClassVar[str] = "1"
    needs: ClassVar[Mapping[str, Kinds]] = {"answer": list, "type": str}

    def tally(self, judged: Sequence[Mapping[str, Any]]) -> Array:
        """[n, 5 + soft accuracy's]: answerable, points; unanswerable, points; said unanswerable."""
        extra = np.zeros((len(judged), 5))
        for row, judgement in zip(extra, judged, strict=True):
            at = 2 if judgement["type"] == UNANSWERABLE else 0
            row[at : at + 2] = 1, judgement["score"]
            row[4] = judgement["prediction"] == UNANSWERABLE
        return np.concatenate([extra, super().tally(judged)], axis=1)

    def measures(self, counts: Array) -> Mapping[str, Array]:
        """In [0, 1]: soft accuracy's, accuracy_answerable, accuracy_unanswerable, says_unanswerable."""
        extra, soft = counts[..., :5], counts[..., 5:]
        return {
            **super().measures(soft),
            "accuracy_answerable": ratio(extra[..., 1], extra[..., 0]),
            "accuracy_unanswerable": ratio(extra[..., 3], extra[..., 2]),
            "says_unanswerable": ratio(extra[..., 4], soft[..., 0]),
        }
