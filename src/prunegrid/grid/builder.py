"""A point of a study's axes -> a cell, with its figures carried over to the model and its values checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prunegrid.grid.cell import Cell, weights_of
from prunegrid.grid.code import constant
from prunegrid.grid.data import digests
from prunegrid.grid.errors import GridError
from prunegrid.grid.lock import locked
from prunegrid.grid.options import GROUPS, Options
from prunegrid.grid.scale import rescale
from prunegrid.grid.tuning import Pick, resolve

DEFAULTS: Mapping[str, str] = {
    "model": "mini",
    "reducer": "none",
    "task": "mini_vqa",
    "tuning": "none",
    "decoding": "greedy",
}


@dataclass
class Builder:
    """Turns axis points into cells, with the digests of the data that they read."""

    options: Options
    outs: Mapping[str, str]  # of data.dvc: path -> md5
    choose: Mapping[str, Any] = field(default_factory=dict)  # command-line choices: model, limit

    def cell(self, point: Mapping[str, Any], where: str, twin: bool = True) -> tuple[Cell, Cell | None]:
        """The cell at a point of the axes, and the one that sets its budget, if any. `twin`: it may have one."""
        picked = {g: self._pick(g, point.get(g, DEFAULTS[g]), where) for g in GROUPS}
        model = locked(self.options.conf, picked["model"])
        if model["data"] and not f"{model['path']}/".startswith(f"{model['data']}/"):
            raise GridError(
                f"conf/model/{model['name']}.yaml: path {model['path']!r} lies outside its data {model['data']!r}"
            )
        reducer, like = picked["reducer"], None
        values = {k: rescale(v, model, f"{where}: reducer.{k}") for k, v in reducer.items()}
        for key, value in values.items():
            if isinstance(value, Mapping) and set(value) == {"like"}:
                if not twin:
                    raise GridError(
                        f"{where}: {key}: {value} inside another `like`; name a method with its own budget"
                    )
                like, _ = self.cell({**point, "reducer": value["like"], "seed": 0}, where, twin=False)
                values[key] = {"like": like.prediction_id()}
            elif key == "keep":
                _check_budget(value, model, f"{where}: reducer {reducer['name']}.keep")
        task = picked["task"]
        version = constant(task["_target_"], "version")
        if version is None:
            raise GridError(
                f"{where}: task {task['name']}: {task['_target_']} has no version; a task class needs one"
            )
        limit = self.choose.get("limit", point.get("limit"))
        seed, size = point.get("seed", 0), picked["decoding"]["batch_size"]
        if limit is not None:
            _check_whole(limit, 1, f"{where}: limit", "questions")
        _check_whole(seed, 0, f"{where}: seed", "")
        _check_whole(
            size, 1, f"{where}: decoding {picked['decoding']['name']}.batch_size", "questions at once"
        )
        tuning = resolve(
            picked["tuning"], values, seed, self.outs, self._picker(model, where), self.options.conf.parent
        )
        cell = Cell(
            model=model,
            reducer=values,
            task=task,
            tuning=tuning,
            decoding=picked["decoding"],
            seed=seed,
            limit=limit,
            data=digests(self.outs, (model.get("data"), task["data"], weights_of(values))),
            version=version,
        )
        return cell, like

    def _picker(self, model: Mapping[str, Any], where: str) -> Pick:
        """Resolved options for parts of a tuning, their figures carried over to the model."""

        def pick(group: str, choice: Any) -> dict[str, Any]:
            found = self._pick(group, choice, where)
            if group == "reducer":
                return {k: rescale(v, model, f"{where}: {group}.{k}") for k, v in found.items()}
            return found

        return pick

    def _pick(self, group: str, choice: Any, where: str) -> dict[str, Any]:
        """`name`, or {name: {option: value, ...}}."""
        if isinstance(choice, Mapping):
            if len(choice) != 1:
                raise GridError(
                    f"{where}: {group} {dict(choice)} must be a name or one {{name: {{option: value}}}}"
                )
            name, values = next(iter(choice.items()))
            if not isinstance(values, Mapping | None):
                raise GridError(f"{where}: {group} {name}: {values!r} must be a mapping of options")
            values = {k: v for k, v in (values or {}).items() if k != "as"}
            return self.options.with_values(group, str(name), values, where)
        return dict(self.options.get(group, str(choice), where))


def _check_whole(value: Any, least: int, where: str, of: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise GridError(
            f"{where}={value!r} must be a whole number{f' of {of}' if of else ''}, at least {least}"
        )


def _check_budget(value: Any, model: Mapping[str, Any], where: str) -> None:
    """`value`: a number of tokens, a share, or a list of them (one per stage)."""
    if value is None or isinstance(value, Mapping):
        return
    if isinstance(value, list) and value:
        for stage in value:
            _check_budget(stage, model, where)
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise GridError(f"{where}={value!r} must be a number of tokens (int) or a share (float)")
    most = model["tokens"] if isinstance(value, int) else 1
    if not 0 < value <= most:
        unit = (
            f"tokens, 1 to {most} for {model['name']}"
            if isinstance(value, int)
            else "a share, above 0 and at most 1"
        )
        raise GridError(f"{where}={value}: must be {unit}; only the reducer `blind` keeps none")
