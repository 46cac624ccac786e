"""What has happened to a cell: done, missing, stale or failed, and why. Stale is what Snakemake would make anew."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunegrid.run.files import file_hash

UNKNOWN = ("unknown", None)  # the code of results that were made by hand


@dataclass(frozen=True)
class State:
    """`name` is done, missing, stale or failed; `why` says more where it is not done."""

    name: str
    why: str = ""


def states(results: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, State]:
    """id -> state of every cell of a plan."""
    predictions = {row["prediction"]: row for row in rows}
    return {row["id"]: _state(results, row, predictions) for row in rows}


def _state(results: Path, row: Mapping[str, Any], predictions: Mapping[str, Mapping[str, Any]]) -> State:
    cell, prediction = results / "cells" / row["id"], results / "predictions" / row["prediction"]
    tunings = [results / "adapters" / each["id"] for each in row.get("adapters", [])]
    for folder in (*tunings, prediction, cell):
        if (folder / "failed.json").exists():
            failed = _read(folder / "failed.json")
            return State("failed", f"{failed['stage']}: {failed['reason']}")
    if not (prediction / "provenance.json").exists():
        done, was = _partial(prediction), row.get("was")
        if was and (results / "cells" / was / "score.json").exists():
            return State("stale", f"its configuration or data changed since {was}")
        return State("missing", f"{done} questions answered so far" if done else "")
    if why := _behind(results, row, predictions):
        return State("stale", why)
    if not (cell / "score.json").exists():
        return State("missing", "predicted, not scored")
    if not row["support"] and not (cell / "cost.json").exists():
        return State("missing", "scored, not costed")
    why = _older(cell / "score.json", "result_hash", prediction / "records.jsonl", row["scorer"])
    if not why and not row["support"]:
        why = _older(cell / "cost.json", "trace_hash", prediction / "trace.jsonl", row["costing"])
    return State("stale", why) if why else State("done")


def _behind(
    results: Path, row: Mapping[str, Any], predictions: Mapping[str, Mapping[str, Any]]
) -> str | None:
    """Why a finished prediction would be made anew: other code, or the one that sets its budget is another now."""
    home = results / "predictions"
    seen = _read(home / row["prediction"] / "provenance.json")
    if seen["code"] != row["code"]:
        return f"code {seen['code']} is now {row['code']}"
    if not row["like"]:
        return None
    like, trace = row["like"], home / row["like"] / "trace.jsonl"
    who = f"{like}, which sets its budget,"
    if not trace.exists() or not (home / like / "provenance.json").exists():
        return f"{who} is gone"
    if like in predictions and (why := _behind(results, predictions[like], predictions)):
        return f"{who} is stale: {why}"
    if _newer(trace, home / row["prediction"] / "records.jsonl"):
        known = seen.get("budgets", {}).get(like)
        if known is None or known != file_hash(trace):
            return f"{who} was predicted again"
    return None


def _older(made: Path, key: str, source: Path, code: str) -> str | None:
    """Why a score or a cost would be made anew: other code, or its source is newer and another (`key`: its hash)."""
    if not made.exists():
        return None
    seen = _read(made)
    if seen.get("code") not in (*UNKNOWN, code):
        return f"{made.stem}: code {seen['code']} is now {code}"
    if source.exists() and _newer(source, made) and seen.get(key) != file_hash(source):
        return f"{made.stem}: {source.name} is newer"
    return None


def _newer(file: Path, other: Path) -> bool:
    return not other.exists() or file.stat().st_mtime_ns > other.stat().st_mtime_ns


def _read(file: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return made


def _partial(prediction: Path) -> int:
    """Questions answered so far, by whatever shards; the first line of each file is no answer."""
    files = prediction.glob("partial*.jsonl")
    return sum(max(0, len(file.read_text(encoding="utf-8").splitlines()) - 1) for file in files)
