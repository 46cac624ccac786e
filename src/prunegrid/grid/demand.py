"""What a prediction or a training asks a cluster for: host memory and time, from the size of its model and of its task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
BASE_MB = 4000  # Python, torch, CUDA's host side, pictures
START_MIN = 15  # imports, weights from a shared file system, first CUDA kernels
UNKNOWN_QUESTIONS = 10_000  # of a task whose data is not fetched yet
_BILLION = 1e9


@dataclass(frozen=True)
class Demand:
    """mem_mb: host memory in MB; runtime: time limit in minutes. Both are read by rule resources."""

    mem_mb: int
    runtime: int


def of_prediction(cell: Mapping[str, Any], root: Path, attempt: int = 1) -> Demand:
    """What a cell's prediction needs, with room; `cell` as in cell.yaml, `attempt` from 1.

    Each attempt asks for half as much memory again and for twice the time: whether one was short of memory
    or of time, the next one is not.
    """
    parameters = parameters_of(cell["model"])
    weights_mb = parameters * BYTES.get(cell["model"]["dtype"], 4) / 1e6
    minutes = START_MIN + questions(cell, root) * _seconds_each(cell, parameters) / 60
    return Demand(
        mem_mb=round((BASE_MB + 1.3 * weights_mb) * 1.5 ** (attempt - 1)),
        runtime=round(minutes * 2 ** (attempt - 1)),
    )


def of_tuning(cell: Mapping[str, Any], attempt: int = 1) -> Demand:
    """What training for a cell needs: weights twice on the host while they load; a day for a full model (a job that
    runs into its limit saves and is requeued), an hour for one of a few million weights."""
    parameters = parameters_of(cell["model"])
    return Demand(
        mem_mb=round((2 * BASE_MB + 8 * parameters / 1e6) * 1.5 ** (attempt - 1)),
        runtime=60 if parameters < _BILLION / 10 else 24 * 60,
    )


def parameters_of(model: Mapping[str, Any]) -> float:
    """Weights of the decoder, roughly: LLaMA is 128 wide per layer (7B: 32 layers of 4096, 13B: 40 of 5120)."""
    layers = int(model["llm_layers"])
    return float(12 * layers * (128 * layers) ** 2)


def questions(cell: Mapping[str, Any], root: Path) -> int:
    """Questions that the cell asks: its limit, the lines of its file, or a guess if neither is known."""
    try:
        with (root / cell["task"]["data"] / cell["task"]["file"]).open("rb") as file:
            there = sum(1 for _ in file)
    except (OSError, KeyError, TypeError):
        there = UNKNOWN_QUESTIONS
    return min(there, int(cell["limit"])) if cell["limit"] else there


def _seconds_each(cell: Mapping[str, Any], parameters: float) -> float:
    # A quarter of the allowed tokens, at the pace of a V100: several times what newer GPUs take.
    tokens = int(cell["task"].get("max_new_tokens", 16)) / 4
    return 0.5 + 0.04 * tokens * max(1.0, parameters / (7 * _BILLION))
