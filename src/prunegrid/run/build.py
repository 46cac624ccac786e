"""From the plain values of a cell to live objects: reducer and task. `_target_` resolves inside listed packages."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from prunegrid.grid.cell import Cell
from prunegrid.grid.code import ALLOWED, packages
from prunegrid.grid.errors import unknown
from prunegrid.run.errors import BuildError
from prunegrid.shape import ModelShape
from prunegrid.tasks.base import Task


def resolve(target: str, where: str) -> Any:
    """The object of a dotted name inside prunegrid or a package that the user listed."""
    if target.split(".")[0] not in packages():
        raise BuildError(
            f"{where}: _target_ {target!r} is outside {', '.join(packages())}; list its package in ${ALLOWED} to allow it"
        )
    module, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BuildError(f"{where}: _target_ {target!r} does not exist ({error})") from error


def reducer(cell: Cell, values: Mapping[str, Any] | None = None) -> Any:
    """The reducer of a cell; `values` replace parameters (a budget taken from another cell)."""
    where = f"conf/reducer/{cell.reducer['name']}.yaml"
    kind = resolve(cell.reducer["_target_"], where)
    given = {k: v for k, v in cell.reducer.items() if k not in ("name", "_target_")} | dict(values or {})
    known = set(getattr(kind, "__dataclass_fields__", {}))
    for key in set(given) - known:
        raise unknown(f"option of reducer {cell.reducer['name']!r}", key, known, where)
    _check_choices(kind, given, where)
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})
    except (TypeError, ValueError) as error:
        raise BuildError(f"{where} as {cell.id()} has it: {error}") from error


def task(cell: Cell) -> Task:
    """The task of a cell."""
    kind = resolve(cell.task["_target_"], f"task {cell.task['name']!r}")
    made: Task = kind.from_config(cell.task)
    return made


def _check_choices(kind: type, given: Mapping[str, Any], where: str) -> None:
    """A parameter that its class declares as a Literal has one of those values; the method itself need not look."""
    for key, hint in get_type_hints(kind).items():
        parts = (hint,) if get_origin(hint) is Literal else get_args(hint)
        kinds = [get_args(p) if get_origin(p) is Literal else p for p in parts]
        allowed = [a for k in kinds if isinstance(k, tuple) for a in k]
        free = any(not isinstance(k, tuple) and k is not type(None) for k in kinds)
        value = given.get(key)
        if allowed and not free and key in given and value not in allowed and value is not None:
            raise BuildError(f"{where}: {key}={value!r} must be {' or '.join(map(repr, allowed))}")


def check_sites(cell: Cell, made: Any, shape: ModelShape) -> None:
    """Raise BuildError where a reducer asks for a layer or a grid that the cell's model does not have."""
    from prunegrid.reduce.places import Place, check_probe, resolve_layer

    try:
        for site in made.sites(shape):
            inside = site.place in (Place.PROMPT, Place.CACHE)
            layers, tower = (shape.llm.layers, "LLM") if inside else (shape.vision.layers, "ViT")
            if site.layer is not None:
                resolve_layer(site.layer, layers, tower)
            check_probe(site, layers, tower)
    except ValueError as error:
        raise BuildError(
            f"reducer {cell.reducer['name']!r} on model {cell.model['name']!r}: {error}"
        ) from error
