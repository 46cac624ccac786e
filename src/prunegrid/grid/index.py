"""What rules look up in a plan, and where its rows lie: a job of a large study reads its own rows, not the plan.

results/plan/index/<study>.json holds `Tables`; in place of a row: where its bytes begin and end in the plan's file.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from prunegrid.grid.data import stamp
from prunegrid.grid.errors import GridError

V = TypeVar("V")
Row = Mapping[str, Any]
Place = Sequence[int]  # first byte of a row, and the one after its last
ID = {"cell": "id", "prediction": "prediction"}  # table -> the field of a row that it looks up


@dataclass(frozen=True)
class Tables:
    """rows: all, in the plan's order. cells: id -> first row. predictions: id -> row of the first cell that has it.
    tunings: id -> what `prunegrid.grid.tuning.rows` says, with the first `cell` that has it and that cell's `model`.
    made: digest of written data -> module that writes them. data: stamp -> (path, md5). models: name -> options of
    the checkpoints to fetch. latency: what to measure, if anything.
    """

    rows: Collection[Row]
    cells: Mapping[str, Row]
    predictions: Mapping[str, Row]
    tunings: Mapping[str, Row]
    made: Mapping[str, str]
    data: Mapping[str, Sequence[str]]
    models: Mapping[str, Row]
    latency: Mapping[str, Any] | None

    @classmethod
    def of(cls, rows: Sequence[Row], latency: Mapping[str, Any] | None) -> Tables:
        """The tables of a plan in memory."""
        cells, predictions = (_first(rows, ID[key], rows) for key in ID)
        return cls(rows, cells, predictions, **_small(rows), latency=latency)

    @classmethod
    def read(cls, results: Path, study: str) -> Tables | None:
        """The tables of a written plan, whose rows are read when they are asked for. None if there is no index."""
        where = file(results, study)
        if not where.exists():
            return None
        made = json.loads(where.read_text(encoding="utf-8"))
        plan = results / "plan" / f"{study}.json"
        cells, predictions = (_Rows(plan, made.pop(f"{key}s"), ID[key]) for key in ID)
        return cls(cells.values(), cells, predictions, **made)


class _Rows(Mapping[str, Row]):
    """Rows of a plan's file by a field, from their places in it."""

    def __init__(self, plan: Path, places: Mapping[str, Place], field: str) -> None:
        self.plan, self.places, self.field = plan, places, field
        self.seen: dict[str, Row] = {}

    def __getitem__(self, key: str) -> Row:
        if key not in self.seen:
            start, end = self.places[key]
            with self.plan.open("rb") as plan:
                plan.seek(start)
                self.seen[key] = self._checked(key, plan.read(end - start))
        return self.seen[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def _checked(self, key: str, text: bytes) -> Row:
        try:
            row = json.loads(text)
            if row[self.field] == key:
                return dict(row)
        except (ValueError, KeyError, TypeError):
            pass
        raise GridError(f"{self.plan} changed while a job of it started, {key} is gone: run snakemake again")


def file(results: Path, study: str) -> Path:
    return results / "plan" / "index" / f"{study}.json"


def document(made: Mapping[str, Any]) -> tuple[str, list[Place]]:
    """What `json.dumps(made)` writes, and the place of each of its `cells`; characters are bytes (ASCII)."""
    rows = [json.dumps(row) for row in made["cells"]]
    parts, places, at = [], list[Place](), 1
    for key, value in made.items():
        name = f"{json.dumps(key)}: "
        if key == "cells":
            first = at + len(name) + 1
            for row in rows:
                places.append((first, first + len(row)))
                first += len(row) + len(", ")
        parts.append(name + (f"[{', '.join(rows)}]" if key == "cells" else json.dumps(value)))
        at += len(parts[-1]) + len(", ")
    return f"{{{', '.join(parts)}}}", places


def text(made: Mapping[str, Any], places: Sequence[Place]) -> str:
    """The index of a plan whose rows stand at `places`."""
    rows = made["cells"]
    at = {f"{key}s": _first(rows, ID[key], places) for key in ID}
    return json.dumps({**at, **_small(rows), "latency": made["latency"]})


def _first(rows: Sequence[Row], field: str, values: Sequence[V]) -> dict[str, V]:
    """value of a row's `field` -> what `values` holds for the first row that has it, in the plan's order."""
    found: dict[str, V] = {}
    for row, value in zip(rows, values, strict=True):
        found.setdefault(row[field], value)
    return found


def _small(rows: Sequence[Row]) -> dict[str, Any]:
    """The tables that hold no rows."""
    tunings = {
        each["id"]: {**each, "cell": row["id"], "model": row["model"]}
        for row in reversed(rows)
        for each in row["adapters"]
    }
    read = [*(row["cell"]["data"] for row in rows), *(each["data"] for each in tunings.values())]
    outs = {path: md5 for data in read for path, md5 in data.items()}
    return {
        "tunings": tunings,
        "made": {e["made"]["digest"]: e["made"]["module"] for e in tunings.values() if e["made"]},
        "data": {stamp(path): (path, md5) for path, md5 in outs.items()},
        "models": {row["model"]: row["cell"]["model"] for row in rows if _is_fetched(row["cell"]["model"])},
    }


def _is_fetched(model: Mapping[str, Any]) -> bool:
    return bool(model["source"]) and model["weights"] == "checkpoint"
