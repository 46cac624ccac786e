"""Published baselines (conf/expected.yaml): which checkpoint, which number by which definition, from where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from prunegrid.tasks import TaskError
from prunegrid.tasks.definitions import COMPOSITES, DEFINITIONS

FILE = Path("conf") / "expected.yaml"
TRAINING = ("full", "lora", "retrain", "rerun")
_FIELDS = {"checkpoint", "model", "training", "source", "scores"}


@dataclass(frozen=True)
class Baseline:
    """One row: `scores` by definition, in the unit of the tables; `model` is a name in conf/model, or None."""

    name: str
    checkpoint: str
    model: str | None
    training: str
    source: str
    scores: dict[str, float]


def load(file: Path) -> list[Baseline]:
    """Every row. TaskError for an unknown definition, a missing field or a value that is no number."""
    whole = yaml.safe_load(file.read_text(encoding="utf-8"))
    rows = whole.get("rows") if isinstance(whole, dict) else None
    if not isinstance(rows, dict) or not rows:
        raise TaskError(f"{file}: must hold `rows`")
    return [_baseline(name, row, f"{file} row {name}") for name, row in rows.items()]


def _baseline(name: str, row: Any, where: str) -> Baseline:
    if not isinstance(row, dict) or set(row) != _FIELDS:
        raise TaskError(f"{where}: fields must be {', '.join(sorted(_FIELDS))}")
    if row["training"] not in TRAINING:
        raise TaskError(f"{where}: training {row['training']!r} must be one of {', '.join(TRAINING)}")
    for key, value in row["scores"].items():
        if key not in DEFINITIONS and key not in COMPOSITES:
            raise TaskError(f"{where}: {key!r} is no definition; see prunegrid.tasks.definitions")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TaskError(f"{where}: {key} {value!r} is no number")
    scores = {key: float(value) for key, value in row["scores"].items()}
    return Baseline(name, row["checkpoint"], row["model"], row["training"], row["source"], scores)


def beside(baselines: Iterable[Baseline], definitions: Iterable[str]) -> list[dict[str, Any]]:
    """What was published under exactly these definitions: {row, training, source, scores}."""
    wanted = set(definitions)
    found = []
    for b in baselines:
        scores = {key: value for key, value in b.scores.items() if key in wanted}
        if scores:
            found.append({"row": b.name, "training": b.training, "source": b.source, "scores": scores})
    return found
