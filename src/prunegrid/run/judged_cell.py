"""A cell's answers with what a judge said of them: judgements.jsonl beside the predictions, replayed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prunegrid.run.files import Files, ResultError
from prunegrid.tasks import Record, Task
from prunegrid.tasks.judging.prompts import ASKING
from prunegrid.tasks.judging.store import load, replayed


def with_judgements(
    task: Task, name: str, files: Files, records: list[Record]
) -> tuple[Task, list[Record], list[str]]:
    """(task, records, who judged): unchanged for a benchmark without judge, or one that has a score without.

    ResultError names the command that asks the judge, where a judgement is needed and none is stored.
    """
    how, store = ASKING.get(name), files.prediction / "judgements.jsonl"
    if how is None or (not store.exists() and not how.needed):
        return task, records, []
    if not store.exists():
        raise ResultError(
            f"{name} is scored by a judge, and none has judged {files.prediction_id}: run"
            f" `prunegrid judge {name} {files.records} --store {store}`, then this again"
        )
    judged, notes = replayed(name, records, load(store))
    runs: dict[str, Any] = {"runs": len(judged[0].meta["judgements"])}
    return replace(task, **runs), judged, notes
