"""From the plain values of a cell to live objects: reducer and task. `_target_` resolves inside listed packages."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

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
    try:
        return method({**cell.reducer, **(values or {})})
    except ValueError as error:
        raise BuildError(f"{error} (in {cell.id()})") from error


def method(option: Mapping[str, Any]) -> Any:
    """The reducer of a resolved option of conf/reducer. BuildError for parameters that it refuses."""
    where = f"conf/reducer/{option['name']}.yaml"
    kind = resolve(option["_target_"], where)
    given = {k: v for k, v in option.items() if k not in ("name", "_target_")}
    known = set(getattr(kind, "__dataclass_fields__", {}))
    for key in set(given) - known:
        raise unknown(f"option of reducer {option['name']!r}", key, known, where)
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})
    except (TypeError, ValueError) as error:
        raise BuildError(f"{where}: {error}") from error


def task(cell: Cell) -> Task:
    """The task of a cell."""
    kind = resolve(cell.task["_target_"], f"task {cell.task['name']!r}")
    made: Task = kind.from_config(cell.task)
    return made


def check_fits(cell: Cell, made: Any, shape: ModelShape) -> None:
    """Raise BuildError where a reducer asks for what the cell's model does not have."""
    from prunegrid.reduce.fit import check_fits as check

    try:
        check(made, shape)
    except ValueError as error:
        raise BuildError(
            f"reducer {cell.reducer['name']!r} on model {cell.model['name']!r}: {error}"
        ) from error
