"""What a paper printed beside what was measured: scores, means over benchmarks, token counts, and notes on them.

Only rows whose model is one that the paper measured have any; the small embedded model never has.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prunegrid.report import words
from prunegrid.report.cell import Estimate, number
from prunegrid.report.sheet import Sheet
from prunegrid.report.summary import Field, Summary, comparable

LEAD = "Measured / published. Tokens are visual tokens that enter the language model, per sample."


@dataclass(frozen=True)
class Row:
    """One row of the table: the measured `fields` by column, and the paper's figures of it by column."""

    label: str
    fields: Mapping[str, Field]
    scores: Mapping[str, float]
    tokens: Mapping[str, float]
    mean: float | None

    @property
    def empty(self) -> bool:
        return not (self.scores or self.tokens or self.mean is not None)


def rows(summary: Summary) -> list[Row]:
    """The rows of the study of which the paper prints anything, in the table's order.

    Of a study that cannot run there are no fields: the paper's figures stand alone.
    """
    given = summary.study.plan.get("published") or {}
    if not summary.rows:
        labels = dict.fromkeys([*_part(given, "values"), *_part(given, "tokens"), *_part(given, "mean")])
        alone = [_row(given, label, label, {}, _part(given, "values").get(label) or {}) for label in labels]
        return [row for row in alone if not row.empty]
    found = []
    for label in summary.rows:
        fields = {f.column: f for f in summary.of_row(label) if comparable(f.cells[0], summary.study)}
        own = next((f.cells[0].row for f in fields.values()), None)
        if own is not None:
            scores = {column: f.published for column, f in fields.items() if f.published is not None}
            found.append(_row(given, label, own, fields, scores))
    return [row for row in found if not row.empty]


def _part(given: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = given.get(key)
    return part if isinstance(part, Mapping) else {}


def _row(
    given: Mapping[str, Any], label: str, own: str, fields: Mapping[str, Field], scores: Mapping[str, float]
) -> Row:
    """`own`: as the study's file calls the row; `label`: as the table does."""
    return Row(
        label, fields, scores, _part(given, "tokens").get(own) or {}, number(_part(given, "mean").get(own))
    )


def mean(fields: Sequence[Field]) -> Estimate | None:
    """Over all benchmarks, in per cent of what each can reach (MME: of 2000). None until every one is finished.

    Benchmarks are different questions: their intervals add as independent ones do.
    """
    shares = [_share(field) for field in fields]
    known = [share for share in shares if share is not None]
    if not known or len(known) < len(shares):
        return None
    value = statistics.fmean(x.value for x in known)
    halves = [x.half for x in known if x.half is not None]
    if len(halves) < len(known):
        return Estimate(value)
    half = math.sqrt(sum(h * h for h in halves)) / len(halves)
    return Estimate(value, value - half, value + half)


def _share(field: Field) -> Estimate | None:
    if field.score is None or field.state != "done":
        return None
    factor = 1.0 if field.unit == "%" else 100 / float(field.cells[0].score["scale"])
    low, high = (None if bound is None else factor * bound for bound in (field.score.low, field.score.high))
    return Estimate(factor * field.score.value, low, high)


def sheet(summary: Summary) -> Sheet | None:
    """Everything that the study's file says of the paper, the measured beside it; None where nothing may stand there."""
    given, study = summary.study.plan.get("published") or {}, summary.study
    found = rows(summary)
    shown = not study.cells or any(comparable(cell, study) for cell in study.cells)
    if not shown or not (given or found):
        return None
    columns = dict.fromkeys([*summary.columns, *(c for row in found for c in (*row.scores, *row.tokens))])
    scored = [c for c in columns if any(c in row.scores for row in found)]
    counted = [c for c in columns if any(c in row.tokens for row in found)]
    means = any(row.mean is not None for row in found)
    metric = _part(given, "metric")
    head = ["method", *(f"{c} ({metric[c]})" if c in metric else c for c in scored)]
    head += [*(["mean"] if means else []), *(f"tokens, {c}" for c in counted)]
    texts = [
        [
            row.label,
            *(_pair(_measured(row.fields.get(c)), row.scores.get(c)) for c in scored),
            *([_pair(_mean_text(row), row.mean)] if means else []),
            *(_pair(_counted(row.fields.get(c)), row.tokens.get(c)) for c in counted),
        ]
        for row in found
    ]
    notes = [" ".join(str(given["notes"]).split())] if given.get("notes") else []
    return Sheet("Published", head, texts, _lead(given, bool(texts)), notes)


def _lead(given: Mapping[str, Any], tables: bool) -> str:
    said = given.get("model")
    models = [said] if isinstance(said, str) else list(said or ())
    parts = [f"After {given['source']}."] if given.get("source") else []
    parts += [f"Checkpoints of the paper: {', '.join(models)}."] if models else []
    return " ".join([*parts, *([LEAD] if tables else [])])


def _pair(ours: str, theirs: float | None) -> str:
    return words.NOTHING if theirs is None else f"{ours} / {theirs:g}"


def _measured(field: Field | None) -> str:
    return words.NOTHING if field is None else words.score(field)


def _mean_text(row: Row) -> str:
    ours = mean(list(row.fields.values()))
    if ours is None:
        done = sum(f.state == "done" for f in row.fields.values())
        return f"{done} of {len(row.fields)} finished" if row.fields else words.NOTHING
    return f"{ours.value:.1f}" + ("" if ours.half is None else f" ±{ours.half:.1f}")


def _counted(field: Field | None) -> str:
    return words.NOTHING if field is None or not field.tokens else f"{field.tokens[0]:.1f}"


def lines(summary: Summary) -> list[list[object]]:
    """For CSV: a line per published figure, unrounded; `measured` in the unit of the figure."""
    head: list[object] = ["row", "column", "what", "metric", "measured", "low", "high", "published"]
    metric = _part(summary.study.plan.get("published") or {}, "metric")
    made = [head]
    for row in rows(summary):
        for column, theirs in row.scores.items():
            field = row.fields.get(column)
            made.append(
                [
                    row.label,
                    column,
                    "score",
                    metric.get(column),
                    *_bounds(field.score if field else None),
                    theirs,
                ]
            )
        if row.mean is not None:
            made.append([row.label, None, "mean", None, *_bounds(mean(list(row.fields.values()))), row.mean])
        for column, theirs in row.tokens.items():
            counts = getattr(row.fields.get(column), "tokens", None)
            made.append([row.label, column, "tokens", None, counts and counts[0], None, None, theirs])
    return made


def _bounds(x: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (x.value, x.low, x.high) if x else (None, None, None)
