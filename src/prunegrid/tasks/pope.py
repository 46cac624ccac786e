"""POPE: is this object in the picture? Yes or no, over three ways to choose the absent objects.

Source: llava/eval/eval_pope.py at c121f043; the benchmark's files at POPE 08d957b. The number that papers
print is 100 * the unweighted mean of the three F1 (positive = yes). The three splits share their positives
and images, so a cluster is an image with its questions of all splits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from prunegrid.tasks.base import Array, Mode, Record, Task
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.ratios import f1, mcc, ratio
from prunegrid.tasks.rows import Kinds, Row
from prunegrid.tasks.yesno import strict_yes_no

SPLITS = ("random", "popular", "adversarial")
TP, FP, TN, FN, YES, UNPARSED = range(6)  # columns of one split


@dataclass(frozen=True, kw_only=True)
class Pope(Task):
    """Rows: answer "yes" | "no"; split "random" | "popular" | "adversarial"."""

    version: ClassVar[str] = "1"
    primary: ClassVar[str] = "f1"
    needs: ClassVar[Mapping[str, Kinds]] = {"split": str, "answer": str}

    def check(self, row: Row, where: str) -> None:
        if row["answer"] not in ("yes", "no"):
            raise TaskError(f"{where}: answer {row['answer']!r} must be yes or no")
        if row["split"] not in SPLITS:
            raise TaskError(f"{where}: split {row['split']!r} must be one of {', '.join(SPLITS)}")

    def verdict(self, record: Record, text: str, mode: Mode) -> Mapping[str, Any]:
        """{split, answer, prediction: "yes" | "no" | None, correct}; None (strict only) is wrong."""
        prediction = official_answer(text) if mode == "official" else strict_yes_no(text)
        return {
            "split": record.meta["split"],
            "answer": record.answer,
            "prediction": prediction,
            "correct": prediction == record.answer,
        }

    def tally(self, judged: Sequence[Mapping[str, Any]]) -> Array:
        """[n, 3 splits * 6]: an unparsed answer counts as the wrong one (FN or FP), but not as a "yes"."""
        rows = np.zeros((len(judged), len(SPLITS), 6))
        for row, judgement in zip(rows, judged, strict=True):
            cell = row[SPLITS.index(judgement["split"])]
            if judgement["answer"] == "yes":
                cell[TP if judgement["correct"] else FN] = 1
            else:
                cell[TN if judgement["correct"] else FP] = 1
            cell[YES] = judgement["prediction"] == "yes"
            cell[UNPARSED] = judgement["prediction"] is None
        return rows.reshape(len(judged), -1)

    def measures(self, counts: Array) -> Mapping[str, Array]:
        """All in [0, 1] except mcc in [-1, 1].

        f1 and accuracy: unweighted mean over the splits that have rows;
        f1_pooled, mcc, yes_rate, unparsed: over the rows of all splits together.
        """
        split = counts.reshape(*counts.shape[:-1], len(SPLITS), 6)
        asked = split[..., [TP, FP, TN, FN]].sum(axis=-1)
        f1s = np.where(asked > 0, f1(split[..., TP], split[..., FP], split[..., FN]), np.nan)
        accuracies = ratio(split[..., TP] + split[..., TN], asked)
        pooled = split.sum(axis=-2)
        tp, fp, tn, fn = (pooled[..., column] for column in (TP, FP, TN, FN))
        whole = asked.sum(axis=-1)
        return {
            "f1": _mean(f1s),
            "accuracy": _mean(accuracies),
            "yes_rate": ratio(pooled[..., YES], whole),
            "mcc": mcc(tp, fp, tn, fn),
            "f1_pooled": f1(tp, fp, fn),
            "unparsed": ratio(pooled[..., UNPARSED], whole),
            **{f"f1_{name}": f1s[..., i] for i, name in enumerate(SPLITS)},
            **{f"accuracy_{name}": accuracies[..., i] for i, name in enumerate(SPLITS)},
        }


def official_answer(text: str) -> str:
    """The answer is "no" if No, not or no is a word before the first period.

    Everything else is "yes": also "NO", "none" and an empty text.
    """
    words = text.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"}.intersection(words) else "yes"


def _mean(values: Array) -> Array:
    """Mean over the last axis of what is not NaN; NaN if nothing is left."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(axis=-1), known.sum(axis=-1).astype(np.float64))
