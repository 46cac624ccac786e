"""A paper's figures beside a study's cells: what a study may say of them, and which cell each one belongs to.

model    the checkpoint(s) that the paper measured: `published` of conf/model. Beside any other model nothing is shown
source   table, page and snapshot
metric   task -> the definition (prunegrid.tasks.definitions) that the paper's number is of
values   row -> column -> figure
mean     row -> the paper's mean over all columns (IVTP: MME as a share of 2000)
tokens   row -> column -> the token count that the paper states: what a run has to arrive at
notes    what is known against a number, or why there is none
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from prunegrid.grid.errors import GridError, unknown

KEYS = {"model", "source", "metric", "values", "mean", "tokens", "notes"}


def checked(given: Any, where: str) -> Mapping[str, Any]:
    """`published` of a study, if its form is right. Raises GridError."""
    where = f"{where}: published"
    if not isinstance(given, Mapping):
        raise GridError(f"{where} must be a mapping of {', '.join(sorted(KEYS))}")
    for key in set(given) - KEYS:
        raise unknown("key", key, KEYS, where)
    for key in ("values", "tokens"):
        for row, figures in (given.get(key) or {}).items():
            if not isinstance(figures, Mapping) or not all(map(_is_number, figures.values())):
                raise GridError(f"{where}.{key}.{row} must be a mapping of column to number, not {figures!r}")
    for row, figure in (given.get("mean") or {}).items():
        if not _is_number(figure):
            raise GridError(f"{where}.mean.{row} must be a number, not {figure!r}")
    _check_words(given, where)
    return given


def _check_words(given: Mapping[str, Any], where: str) -> None:
    """What is printed as it stands is text."""
    for key in ("source", "notes"):
        if not isinstance(given.get(key, ""), str):
            raise GridError(f"{where}.{key} must be a text, not {given[key]!r}")
    for name in models(given):
        if not isinstance(name, str):
            raise GridError(f"{where}.model must be a name or a list of names, not {name!r}")
    metric = given.get("metric") or {}
    if not isinstance(metric, Mapping) or not all(isinstance(name, str) for name in metric.values()):
        raise GridError(f"{where}.metric must be a mapping of task to definition, not {metric!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_places(published: Mapping[str, Any], places: Collection[tuple[str, str]], where: str) -> None:
    """Every figure stands beside a row, or a cell, that the table has. Raises GridError."""
    rows, columns = {row for row, _ in places}, {column for _, column in places}
    for key in ("values", "tokens", "mean"):
        for row, figures in (published.get(key) or {}).items():
            if row not in rows:
                raise unknown("row", row, rows, f"{where}: published.{key}")
            for column in figures if isinstance(figures, Mapping) else ():
                if column not in columns:
                    raise unknown("column", column, columns, f"{where}: published.{key}.{row}")
                if (row, column) not in places:
                    raise GridError(f"{where}: published.{key}.{row}.{column}: no block has this cell")
    for task in published.get("metric") or {}:
        if task not in columns:
            raise unknown("column", task, columns, f"{where}: published.metric")


def models(published: Mapping[str, Any]) -> tuple[str, ...]:
    """The checkpoints that the paper measured."""
    given = published.get("model")
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)


def value(published: Mapping[str, Any], model: Mapping[str, Any], row: str, column: str) -> float | None:
    """The paper's number, only where this model is the published one."""
    if model.get("published") not in models(published):
        return None
    found = ((published.get("values") or {}).get(row) or {}).get(column)
    return None if found is None else float(found)
