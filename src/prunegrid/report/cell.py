"""One cell and what the other stages left of it: scores, costs, paired differences, failures, traces."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

State = Literal["done", "failed", "missing"]


class ResultError(Exception):
    """A result file that cannot be used; the message names the file and the remedy."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; None = a bound that is not known. `p`: against 0, two-sided."""

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None

    @property
    def half(self) -> float | None:
        """Half the length of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


@dataclass(frozen=True)
class Cell:
    """One planned cell and what there is of it. `planned` is its entry in the plan."""

    root: Path
    planned: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.planned["id"])

    @property
    def row(self) -> str:
        return str(self.planned["row"])

    @property
    def column(self) -> str:
        return str(self.planned["column"])

    @property
    def model(self) -> str:
        return str(self.planned["model"])

    @property
    def reducer(self) -> str:
        return str(self.planned["reducer"]["name"])

    @property
    def seed(self) -> int:
        return int(self.planned.get("seed") or 0)

    @property
    def support(self) -> bool:
        """True if the study does not show this cell but compares others with it."""
        return bool(self.planned.get("support"))

    @property
    def folder(self) -> Path:
        return self.root / "cells" / self.id

    @property
    def prediction(self) -> Path:
        return self.root / "predictions" / str(self.planned["prediction"])

    @cached_property
    def failure(self) -> Mapping[str, Any] | None:
        """The failure that is newer than any score of this cell."""
        tunings = [self.root / "adapters" / each["id"] for each in self.planned.get("adapters") or []]
        files = [place / "failed.json" for place in (*tunings, self.prediction, self.folder)]
        score = self.folder / "score.json"
        # a rerun that fails leaves the old score behind, one that succeeds may leave the old failure behind
        since = score.stat().st_mtime_ns if score.exists() else -1
        failed = [file for file in files if file.exists() and file.stat().st_mtime_ns > since]
        return read_json(failed[-1]) if failed else None

    @cached_property
    def state(self) -> State:
        if self.failure is not None:
            return "failed"
        return "done" if (self.folder / "score.json").exists() else "missing"

    @cached_property
    def score(self) -> Mapping[str, Any]:
        return read_json(self.folder / "score.json")

    @cached_property
    def cost(self) -> Mapping[str, Any]:
        """Empty where the cost has not been computed."""
        return read_json(self.folder / "cost.json", missing_ok=True)

    @cached_property
    def kept(self) -> Mapping[str, Any]:
        """What the kept tokens are; empty where that was not looked at."""
        return read_json(self.folder / "kept.json", missing_ok=True)

    @cached_property
    def latency(self) -> Mapping[str, Any]:
        """Empty where nothing was measured."""
        return read_json(self.folder / "latency.json", missing_ok=True)

    @cached_property
    def paired(self) -> Mapping[str, Any]:
        """Empty where nothing was compared."""
        return read_json(self.folder / "paired.json", missing_ok=True)

    def beside(self, twin: Literal["baseline", "blind"]) -> Mapping[str, Any] | None:
        """What `compare` found against the full-token or the blind twin; None for that twin itself."""
        return None if self.planned.get(twin) == self.id else self.paired.get(twin)

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """Where the answers come from, and the seconds that asking took (kept apart: no hash includes them)."""
        timing = read_json(self.prediction / "timing.json", missing_ok=True)
        found = read_json(self.prediction / "provenance.json", missing_ok=True)
        return {**found, "seconds": timing.get("seconds")} if found else found

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The resolved cell; empty where `plan` has not written it."""
        file = self.folder / "cell.yaml"
        if not file.exists():
            return {}
        loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(loaded, dict):
            raise ResultError(f"{file}: must hold a mapping; run `prunegrid plan` again")
        return loaded

    def records(self) -> Iterator[Mapping[str, Any]]:
        return read_lines(self.prediction / "records.jsonl")

    def traces(self) -> Iterator[Mapping[str, Any]]:
        return read_lines(self.prediction / "trace.jsonl")


def is_mini(model: str) -> bool:
    """True for the small embedded model and its variants, whose numbers never stand beside a paper's."""
    return model == "mini" or model.startswith(("mini_", "mini-"))


def number(value: Any) -> float | None:
    """A finite float, or None."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def estimate(entry: Mapping[str, Any] | None, key: str, interval: str = "interval") -> Estimate | None:
    """`entry[key]` with the bounds `entry[interval]`; None where either is not there."""
    value = number((entry or {}).get(key))
    if entry is None or value is None:
        return None
    low, high = entry.get(interval) or (None, None)
    return Estimate(value, number(low), number(high), number(entry.get("p")) if key == "delta" else None)


def read_json(file: Path, missing_ok: bool = False) -> dict[str, Any]:
    """The mapping in `file`; ResultError names the file if it is cut or no mapping."""
    if missing_ok and not file.exists():
        return {}
    try:
        loaded = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(f"{file}: cannot be read ({error}); delete it and run the study again") from error
    if not isinstance(loaded, dict):
        raise ResultError(f"{file}: must hold a JSON object; delete it and run the study again")
    return loaded


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """One mapping per line; nothing where the file does not exist."""
    if not file.exists():
        return
    with file.open(encoding="utf-8") as lines:
        for count, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ResultError(f"{file} line {count}: cannot be read ({error}); predict again") from error
