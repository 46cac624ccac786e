"""A study's table: aligned text for the terminal, Markdown and LaTeX to paste, CSV to compute with."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Callable, Sequence

from prunegrid.report import cost_table, published, sheet, words
from prunegrid.report.cell import Estimate, is_mini
from prunegrid.report.provenance import mixed
from prunegrid.report.summary import Field, Summary

_LABEL = 32  # widest method column of the text table


# ---- terminal ----------------------------------------------------------------------------------------


def render_text(summary: Summary, width: int = 120) -> str:
    """The table for a terminal of `width` columns: scores, differences, cost; in blocks if it is too wide."""
    study = summary.study
    head = [f"{study.title} — {', '.join(study.models)}, {study.progress}"]
    body = [_block(summary, columns) for columns in _fitting(summary, width)]
    notes = ["score ± half 95 % interval, difference to full tokens, * = significant after Holm's correction"]
    notes += [words.MINI] if any(is_mini(model) for model in study.models) else []
    notes += mixed(study)
    foot = [line for note in notes for line in textwrap.wrap(note, width)]
    return "\n".join([*head, "", *"\n\n".join(body).splitlines(), "", *foot]) + "\n"


def _fitting(summary: Summary, width: int) -> list[Sequence[str]]:
    """As few blocks of columns as fit into `width`, of about equal length."""
    cost = max(len(line) for line in _cost_column(summary))
    room = width - min(_LABEL, max(map(len, summary.rows), default=0)) - 2 - cost
    needs = {column: max(map(len, _column(summary, column))) + 2 for column in summary.columns}
    columns, count = summary.columns, len(summary.columns)
    for each in range(count, 0, -1):
        blocks = -(-count // each)
        even = -(-count // blocks)
        split = [columns[start : start + even] for start in range(0, count, even)]
        if each == 1 or all(sum(needs[column] for column in block) <= room for block in split):
            return list(split)
    return [()]


def _block(summary: Summary, columns: Sequence[str]) -> str:
    labels = [textwrap.wrap(row, _LABEL) for row in summary.rows]
    texts = [*(_column(summary, column) for column in columns), _cost_column(summary)]
    widths = [max(map(len, text)) for text in texts]
    first = max([len("method"), *(len(line) for label in labels for line in label)])
    lines = []
    for i, label in enumerate([["method"], *labels]):
        cells = (text[i].ljust(w) for text, w in zip(texts, widths, strict=True))
        lines.append("  ".join([label[0].ljust(first), *cells]).rstrip())
        lines += [f"  {more}" for more in label[1:]]
        lines += ["-" * (first + sum(widths) + 2 * len(widths))] if i == 0 else []
    return "\n".join(lines)


def _column(summary: Summary, column: str) -> list[str]:
    """Head and one text per row, parts aligned among themselves."""
    fields = [summary.fields.get((row, column)) for row in summary.rows]
    scores = ["" if f is None else words.score(f, "±") for f in fields]
    deltas = ["" if f is None else words.delta(f).removesuffix("*") for f in fields]
    wide, deep = max(map(len, scores), default=0), max(map(len, deltas), default=0)
    texts = []
    for field, score, delta in zip(fields, scores, deltas, strict=True):
        star = words.star(field) if field else ""
        partial = f" {words.seeds(field)}" if field and field.state == "partial" else ""
        text = f"{score.rjust(wide)} {delta.rjust(deep)}{star}" if field and field.score else score
        texts.append(text.rstrip() + partial)
    return [column, *texts]


def _cost_column(summary: Summary) -> list[str]:
    rows = [summary.of_row(row) for row in summary.rows]
    lines = [texts[:2] for texts in (words.COSTS, *map(words.costs, rows))]  # a terminal is narrow
    wide = [max(map(len, texts)) for texts in zip(*lines, strict=True)]
    return ["  ".join(text.rjust(n) for text, n in zip(line, wide, strict=True)) for line in lines]


# ---- Markdown ----------------------------------------------------------------------------------------


def markdown(summary: Summary) -> str:
    """Scores, differences, published numbers (where the model is the published one), and the legend."""
    study = summary.study
    parts = [f"## {study.title}", f"Model: {', '.join(study.models)}. {study.progress}."]
    parts += [f"Source: {source}"] if (source := study.plan.get("source")) else []
    parts += ["### Score", sheet.markdown_table(_score_table(summary))]
    parts += ["### Difference to full tokens", sheet.markdown_table(_delta_table(summary))]
    parts += [sheet.markdown(said) for said in (published.sheet(summary), cost_table.sheet(study)) if said]
    parts += [f"{words.LEGEND} {words.KV}".replace("*", "\\*")]
    parts += [words.MINI] if any(map(is_mini, study.models)) else []
    parts += mixed(study)
    return "\n\n".join(parts) + "\n"


def _score_table(summary: Summary) -> list[list[str]]:
    def write(field: Field) -> str:
        seeds = words.seeds(field) if field.score else ""
        return words.score(field) + words.star(field) + (f" ({seeds})" if seeds else "")

    return _grid(summary, write, cost=True)


def _delta_table(summary: Summary) -> list[list[str]]:
    return _grid(summary, words.delta_interval, cost=False)


def _grid(summary: Summary, write: Callable[[Field], str], cost: bool) -> list[list[str]]:
    """The head, then a line per row."""
    head = ["method", *summary.columns, *(words.COSTS if cost else ())]
    lines = [head]
    for row in summary.rows:
        fields = [summary.fields.get((row, column)) for column in summary.columns]
        texts = ["" if field is None else write(field) for field in fields]
        own = summary.of_row(row)
        lines.append([row, *texts, *(words.costs(own) if cost else ())])
    return lines


# ---- LaTeX -------------------------------------------------------------------------------------------


def latex(summary: Summary) -> str:
    """Scores with tokens and FLOPs, differences, what the paper printed, and the computed cost table."""
    study = summary.study
    notes = [
        words.LEGEND,
        words.KV,
        *([words.MINI] if any(map(is_mini, study.models)) else []),
        *mixed(study),
    ]
    head = f"{study.title} ({', '.join(study.models)}, {study.progress})"
    scores, deltas = _score_table(summary), _delta_table(summary)
    made = [
        sheet.Sheet(head, scores[0], scores[1:], notes=notes),
        sheet.Sheet(f"{study.title}: difference to full tokens", deltas[0], deltas[1:]),
        published.sheet(summary),
        cost_table.sheet(study),
    ]
    return "\n".join(sheet.latex(each) for each in made if each)


# ---- CSV ---------------------------------------------------------------------------------------------


def as_csv(summary: Summary) -> str:
    """One line per field, unrounded, in the unit named in `unit`; empty where there is no number."""
    out = io.StringIO()
    lines = [_line(summary.fields[row, column]) for column in summary.columns for row in summary.rows
             if (row, column) in summary.fields]  # fmt: skip
    writer = csv.DictWriter(out, list(lines[0]) if lines else ["row", "column"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _line(field: Field) -> dict[str, object]:
    mean, low, high = field.tokens or (None, None, None)
    return {
        "row": field.row,
        "column": field.column,
        "model": field.model,
        "mini": str(is_mini(field.model)).lower(),
        "state": field.state,
        "seeds": len(field.cells),
        "seeds_done": field.seeds,
        "metric": field.metric,
        "unit": field.unit if field.score else "",
        **_columns("score", field.score),
        "seed_sd": field.seed_sd,
        **_columns("delta", field.delta),
        "delta_p_holm": field.delta.p if field.delta else None,
        "significant": str(field.significant).lower() if field.delta and field.delta.p is not None else "",
        **_columns("retention_percent", field.retention),
        **_columns("retention_over_blind_percent", field.retention_floor),
        "tokens_mean": mean,
        "tokens_min": low,
        "tokens_max": high,
        "equivalent_tokens": field.equivalent,
        "flops": field.flops,
        "relative_flops": field.relative_flops,
        "relative_kv": field.relative_kv,
        "reducer_flops_counted": "" if field.flops is None else str(not field.uncounted).lower(),
        "published": field.published,
        "cells": " ".join(cell.id for cell in field.cells),
    }


def _columns(name: str, x: Estimate | None) -> dict[str, float | None]:
    value, low, high = (x.value, x.low, x.high) if x else (None, None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}
