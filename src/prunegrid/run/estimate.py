"""What a plan will take, before anything is submitted: jobs, shared trainings, GPU-hours by the roofline.

An upper figure: every cell is counted with all visual tokens. conf/estimate.yaml states each assumption.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from prunegrid.cost import BITS, Hardware, TokenSchedule, cost
from prunegrid.grid import demand
from prunegrid.grid.errors import GridError
from prunegrid.grid.plan import Plan
from prunegrid.run.hardware import machine_of
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class Estimate:
    """Of a whole plan. Hours are those of one device of `hardware`, all jobs one after the other."""

    hardware: str
    cells: int  # shown
    support: int  # computed only because others are compared with them
    predictions: int
    trainings: int
    shared: int  # of the trainings, those that several predictions use
    prediction_hours: float
    training_hours: float

    def lines(self) -> list[str]:
        total = self.prediction_hours + self.training_hours
        return [
            f"{self.cells} cells and {self.support} that they are compared with",
            f"jobs on a device: {self.predictions} predictions, {self.trainings} trainings ({self.shared} shared by "
            "several predictions)",
            f"about {total:.1f} hours of one {self.hardware}, reduction not counted: {self.prediction_hours:.1f} answering, "
            f"{self.training_hours:.1f} training (conf/estimate.yaml)",
        ]


def estimate(plan: Plan, root: Path, hardware: str) -> Estimate:
    """Raises GridError for hardware that conf/ does not know."""
    machine = machine_of(root, hardware)
    assumed = yaml.safe_load((root / "conf" / "estimate.yaml").read_text(encoding="utf-8"))
    predictions = {row["prediction"]: row["cell"] for row in plan.rows}
    users: dict[str, set[str]] = {}
    trained: dict[str, Mapping[str, Any]] = {}
    for row in plan.rows:
        for each, tuning in zip(row["adapters"], _chain(row["cell"]["tuning"]), strict=True):
            users.setdefault(each["id"], set()).add(row["prediction"])
            trained[each["id"]] = {**row["cell"], "tuning": tuning}
    clock = _Clock(machine, assumed, root)
    shown = {row["id"] for row in plan.rows if not row["support"]}
    return Estimate(
        hardware,
        len(shown),
        len({row["id"] for row in plan.rows} - shown),
        len(predictions),
        len(trained),
        sum(len(by) > 1 for by in users.values()),
        sum(clock.answering(cell) for cell in predictions.values()) / 3600,
        sum(clock.training(cell) for cell in trained.values()) / 3600,
    )


def _chain(tuning: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The trainings behind a tuning, the first one first."""
    if tuning["name"] == "none":
        return []
    return [*(_chain(tuning["after"]) if tuning["after"] else []), tuning]


class _Clock:
    """Seconds of jobs on one machine."""

    def __init__(self, machine: Hardware, assumed: Mapping[str, Any], root: Path) -> None:
        self.machine, self.assumed, self.root = machine, assumed, root
        self.roofline = lru_cache(maxsize=None)(self._roofline)
        self.shapes: dict[str, ModelShape] = {}

    def answering(self, cell: Mapping[str, Any]) -> float:
        task = cell["task"]["name"]
        new = self.assumed["answer"].get(task, self.assumed["answer"]["default"])
        each = self.roofline(
            self._shape(cell),
            cell["model"]["dtype"],
            self.assumed["text"],
            new,
            cell["decoding"]["batch_size"],
        )
        return self.start(cell) + self.questions(cell) * each / self.assumed["efficiency"]

    def start(self, cell: Mapping[str, Any]) -> float:
        known = self.assumed["start"]
        return float(known.get(cell["model"]["name"], known["default"]))

    def questions(self, cell: Mapping[str, Any]) -> int:
        task = cell["task"]
        known = self.assumed["questions"].get(task["name"])
        if known is None or (self.root / task["data"] / task["file"]).exists():
            return demand.questions(cell, self.root)
        return min(known, cell["limit"] or known)

    def training(self, cell: Mapping[str, Any]) -> float:
        tuning, assumed = cell["tuning"], self.assumed["training"]
        known = self.assumed["conversations"]
        if tuning["steps"]:
            seen = tuning["steps"] * tuning["batch"]
        elif tuning["conversations"] in known:
            seen = tuning["epochs"] * known[tuning["conversations"]]
        else:
            raise GridError(
                f"conf/estimate.yaml: say under conversations how many {tuning['conversations']} has"
            )
        once = self.roofline(self._shape(cell), tuning["dtype"], assumed["text"], 1, tuning["micro"])
        return self.start(cell) + seen * assumed["passes"] * once / self.assumed["efficiency"]

    def _roofline(self, shape: ModelShape, dtype: str, text: int, new: int, batch: int) -> float:
        """Seconds per sample, in batches, with all visual tokens."""
        schedule = TokenSchedule.stated(shape, shape.visual_tokens + text, new_tokens=new, batch=batch)
        return cost(shape, schedule, self.machine, BITS[dtype]).seconds() / batch

    def _shape(self, cell: Mapping[str, Any]) -> ModelShape:
        model = cell["model"]
        if model["name"] not in self.shapes:
            file = self.root / model["path"] / "config.json"
            if not (file.exists() or model["config"]):
                raise GridError(f"{file} is missing: add the model first (`prunegrid model add`)")
            config = json.loads(file.read_text(encoding="utf-8")) if file.exists() else model["config"]
            self.shapes[model["name"]] = ModelShape.from_config(config)
        return self.shapes[model["name"]]
