"""What has happened to a cell: done, missing, stale or failed, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class State:
    """`name` is done, missing, stale or failed; `why` says more where it is not done."""

    name: str
    why: str = ""


def state(results: Path, row: Mapping[str, Any]) -> State:
    """The state of a planned cell (a row of the plan)."""
    cell, prediction = results / "cells" / row["id"], results / "predictions" / row["prediction"]
    tunings = [results / "adapters" / each["id"] for each in row.get("adapters", [])]
    for folder in (*tunings, prediction, cell):
        if (folder / "failed.json").exists():
            failed = json.loads((folder / "failed.json").read_text(encoding="utf-8"))
            return State("failed", f"{failed['stage']}: {failed['reason']}")
    if not (prediction / "provenance.json").exists():
        done, was = _partial(prediction), row.get("was")
        if was and (results / "cells" / was / "score.json").exists():
            return State("stale", f"its configuration or data changed since {was}")
        return State("missing", f"{done} questions answered so far" if done else "")
    if not (cell / "score.json").exists():
        return State("missing", "predicted, not scored")
    seen = json.loads((prediction / "provenance.json").read_text(encoding="utf-8"))
    if seen["code"] != row["code"]:
        return State("stale", f"code {seen['code']} is now {row['code']}")
    if not row["support"] and not (cell / "cost.json").exists():
        return State("missing", "scored, not costed")
    return State("done")


def _partial(prediction: Path) -> int:
    """Questions answered so far, by whatever shards; the first line of each file is no answer."""
    files = prediction.glob("partial*.jsonl")
    return sum(max(0, len(file.read_text(encoding="utf-8").splitlines()) - 1) for file in files)
