"""Where a cell's files lie under results/, and how they are written: under a temporary name, then renamed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from prunegrid.grid.atomic import write_text
from prunegrid.grid.cell import Cell


@dataclass(frozen=True)
class Files:
    """Paths of one cell."""

    results: Path
    cell_id: str
    prediction_id: str

    @classmethod
    def of(cls, results: Path, cell: Cell) -> Files:
        return cls(results, cell.id(), cell.prediction_id())

    @property
    def cell(self) -> Path:
        return self.results / "cells" / self.cell_id

    @property
    def prediction(self) -> Path:
        return self.results / "predictions" / self.prediction_id

    @property
    def records(self) -> Path:
        return self.prediction / "records.jsonl"

    @property
    def trace(self) -> Path:
        return self.prediction / "trace.jsonl"

    @property
    def provenance(self) -> Path:
        return self.prediction / "provenance.json"


class ResultError(RuntimeError):
    """A result file that is missing or broken; says which, and the command that makes it."""


def read_cell(path: Path) -> Cell:
    """A cell.yaml. Raises ResultError if it is missing or no mapping, GridError if it was edited by hand."""
    if not path.exists():
        raise ResultError(f"{path} is missing: `prunegrid plan STUDY` writes it")
    try:
        row = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ResultError(
            f"{path} is no plain yaml ({error}); delete it and run `prunegrid plan STUDY`"
        ) from error
    if not isinstance(row, Mapping):
        raise ResultError(f"{path} holds no cell; delete it and run `prunegrid plan STUDY`")
    return Cell.from_dict(row)


def read_jsonl(path: Path, remedy: str) -> Iterator[dict[str, Any]]:
    """Rows of a finished file. A line that is no JSON is an error that names it."""
    if not path.exists():
        raise ResultError(f"{path} is missing: {remedy}")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise ResultError(f"{path} line {number} is cut or broken ({error}): {remedy}") from error


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def read_json(path: Path, remedy: str) -> Any:
    if not path.exists():
        raise ResultError(f"{path} is missing: {remedy}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResultError(f"{path} is cut or broken ({error}): {remedy}") from error


def read_finished(prediction: Path, name: str, remedy: str) -> list[dict[str, Any]]:
    """The rows of a prediction's records.jsonl or trace.jsonl: as many as provenance.json says, or it was cut."""
    rows = list(read_jsonl(prediction / name, remedy))
    asked = read_json(prediction / "provenance.json", remedy)["samples"]
    if len(rows) != asked:
        raise ResultError(f"{prediction / name} was cut: it has {len(rows)} of {asked} rows: {remedy}")
    return rows


def entering(row: Mapping[str, Any]) -> int:
    """Visual tokens of a trace's row that enter the language model; 0 where there is no layer to enter."""
    return int(row["visual"][0]) if row["visual"] else 0


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes, 16 hex digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def stream_sha256(path: Path) -> str:
    """sha256 of a large file, 64 hex digits, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
