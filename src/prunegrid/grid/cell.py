"""THE definition of a cell: one entry of the ablation grid, and its ids."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from prunegrid.grid.errors import GridError

NAME = re.compile(r"^[a-z0-9][a-z0-9_]*$")
UNSEEN = ("data", "published", "source", "device")  # of a model: no answer depends on them


def digest(value: Any, length: int = 10) -> str:
    """The first `length` hex digits of the sha256 of a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def weights_of(reducer: Mapping[str, Any]) -> str | None:
    """The file of a method that has weights of its own; None for all others."""
    return reducer.get("weights") if "untrained" in reducer else None


def check_name(part: str, name: object) -> None:
    """Raise GridError unless `name` can be a folder's."""
    if not NAME.fullmatch(str(name)):
        raise GridError(
            f"{part} name {name!r} may hold lower-case letters, digits and _ only: it becomes a folder"
        )


@dataclass(frozen=True)
class Cell:
    """Everything that can change a number is a field; nothing else is.

    model, reducer, task, tuning, decoding: the resolved options as plain JSON mappings. `data`: path -> md5 of the outs
    of data.dvc that model, method and task read. `limit`: first questions only, so that a trial never overwrites a full run.
    `version`: the scorer's. Paths, hardware and worker counts are not here.
    """

    model: Mapping[str, Any]
    reducer: Mapping[str, Any]
    task: Mapping[str, Any]
    tuning: Mapping[str, Any]
    decoding: Mapping[str, Any]
    seed: int
    limit: int | None
    data: Mapping[str, str]
    version: str

    def __post_init__(self) -> None:
        for part in ("model", "reducer", "task", "tuning"):
            check_name(part, getattr(self, part).get("name", ""))

    def prediction(self) -> dict[str, Any]:
        """What the model's answers depend on: of data their content, wherever it lies. Options are the cell's own."""
        model = {k: v for k, v in self.model.items() if k not in UNSEEN}
        for key in ("path", "clip"):
            if model.get(key):
                model[key] = self._content(model[key])
        return {
            "model": model,
            "reducer": self._pinned(self.reducer),
            "task": {**self.task, "data": self._content(self.task["data"])},
            "tuning": self._without_paths(self.tuning),
            "decoding": dict(self.decoding),
            "seed": self.seed,
            "limit": self.limit,
        }

    def _without_paths(self, tuning: Mapping[str, Any]) -> dict[str, Any]:
        """A tuning, and those before it, without the place of its data: `digest` is their content."""
        kept = {k: v for k, v in tuning.items() if k != "data"}
        if kept.get("reducer"):
            kept["reducer"] = self._pinned(kept["reducer"])
        return {**kept, "after": self._without_paths(kept["after"])} if kept.get("after") else kept

    def _pinned(self, reducer: Mapping[str, Any]) -> dict[str, Any]:
        """A reducer with the content of the file of its weights, if it has one."""
        file = weights_of(reducer)
        return {**reducer, "weights": self._content(file)} if file else dict(reducer)

    def _content(self, path: str) -> str:
        """The md5 of the out that holds `path`, and the place inside it; a path in no out (a hub name) as it is."""
        for out, md5 in self.data.items():
            if path == out or path.startswith(f"{out}/"):
                return md5 + path[len(out) :]
        return path

    def prediction_id(self) -> str:
        return self._ids[0]

    def id(self) -> str:
        """Prediction and scorer: a new scorer version costs no GPU hour."""
        return self._ids[1]

    @cached_property
    def _ids(self) -> tuple[str, str]:
        whole = self.prediction()
        scored = digest({**whole, "version": self.version})
        return f"{self.label}-{digest(whole)}", f"{self.label}-{scored}"

    def adapter_id(self) -> str | None:
        """What is trained for this cell, if anything: model, tuning with its reducer and seed, data, code."""
        if self.tuning.get("name") == "none":
            return None
        whole = self.prediction()
        trained = {"model": whole["model"], "tuning": whole["tuning"]}
        reducer = self.tuning.get("reducer", self.reducer)["name"]
        return f"{self.model['name']}-{self.tuning['name']}-{reducer}-{digest(trained)}"

    def tuned_by(self, tuning: Mapping[str, Any]) -> Cell:
        """This cell with another tuning."""
        return replace(self, tuning=tuning)

    @property
    def label(self) -> str:
        return f"{self.model['name']}-{self.reducer['name']}-{self.task['name']}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, ids included: what cell.yaml holds."""
        return {
            "id": self.id(),
            "prediction": self.prediction_id(),
            "adapter": self.adapter_id(),
            **asdict(self),
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Cell:
        """Inverse of `to_dict`; refuses a cell whose id does not fit its content."""
        try:
            cell = cls(**{k: v for k, v in row.items() if k not in ("id", "prediction", "adapter")})
            found = cell.id()
        except (TypeError, KeyError, AttributeError) as error:
            raise GridError(
                f"cell {row.get('id', '?')} is not whole ({error}); plan its study again"
            ) from error
        if row.get("id", found) != found:
            raise GridError(
                f"cell {row['id']} was edited by hand: its content has the id {found}; edit conf/ and plan its study again"
            )
        return cell
