"""What tasks share whose answers another model judges: one or more runs of judgements beside each record.

A judgement is stored with the record (`meta["judgements"]`, one per run, None where the judge gave none), so
that scoring is reproducible and needs no network. A failed judgement has no score: it is counted and left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from prunegrid.tasks.base import Record
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.rows import Row

KEY = "judgements"


def judgements(record: Record, runs: int) -> list[Any]:
    """The judgements of a record, one per run. TaskError if there are none or not as many as runs."""
    found = record.meta.get(KEY)
    if found is None:
        raise TaskError(f"record {record.id!r}: no judgement is stored; ask a judge with `prunegrid judge`")
    if len(found) != runs:
        raise TaskError(f"record {record.id!r}: {len(found)} judgements for {runs} runs")
    return list(found)


def with_question(rows: list[Row]) -> list[Row]:
    """Rows whose records will hold the question (`asked`), which a judge must be told."""
    return [{**row, "asked": row["question"]} for row in rows]


def attach(records: Iterable[Record], runs: Sequence[Mapping[str, Any]]) -> list[Record]:
    """Records with the judgement of each run beside them; `runs`: id -> judgement. None where a run has none."""
    return [
        replace(record, meta={**record.meta, KEY: [run.get(record.id) for run in runs]}) for record in records
    ]
