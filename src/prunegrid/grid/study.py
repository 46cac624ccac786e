"""A study: axes over options -> cells with rows and columns. One yaml per table or figure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from prunegrid.grid.builder import DEFAULTS, Builder
from prunegrid.grid.cell import NAME, Cell
from prunegrid.grid.errors import GridError, unknown
from prunegrid.grid.options import GROUPS

AXES = (*GROUPS, "seed")
KEYS = {"title", "source", "blocks", "layout", "published", "limit", "latency"}
# What a study that asks for measured latency may set, and what it gets where it does not.
LATENCY: Mapping[str, Any] = MappingProxyType(
    {"batch_sizes": (1, 8), "new_tokens": (1, 64), "repeats": 50, "warmup": 5}
)


@dataclass(frozen=True)
class Entry:
    """One cell of a study, with its place in the table. `support`: not shown, but others are compared with it."""

    cell: Cell
    row: str
    column: str
    support: bool = False
    baseline: str | None = None  # id of the full-token cell
    blind: str | None = None  # id of the cell without any visual token
    like: str | None = None  # prediction id whose trace sets this cell's budget
    published: float | None = None


@dataclass(frozen=True)
class Study:
    """conf/study/<name>.yaml, read and checked."""

    name: str
    title: str
    source: str | None
    blocks: Sequence[Mapping[str, Any]]
    layout: Mapping[str, str]
    published: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    latency: Mapping[str, Any] | None = None  # LATENCY's keys; None: nothing is measured


def load(conf: Path, name: str) -> Study:
    """Read a study. Unknown names and keys are errors that name the file."""
    known = sorted(p.stem for p in (conf / "study").glob("*.yaml"))
    if not NAME.fullmatch(name) or name not in known:
        raise unknown("study", name, known, "study=")
    where = f"conf/study/{name}.yaml"
    raw = _read(conf / "study" / f"{name}.yaml", where)
    for key in set(raw) - KEYS:
        raise unknown("key", key, KEYS, where)
    blocks = raw.get("blocks")
    if not isinstance(blocks, list) or not blocks or not all(isinstance(b, Mapping) for b in blocks):
        raise GridError(f"{where}: blocks must be a list of at least one mapping of axes {', '.join(AXES)}")
    for block in blocks:
        for axis, choices in block.items():
            if axis not in AXES:
                raise unknown("axis", axis, AXES, where)
            if choices is None or choices == []:
                raise GridError(f"{where}: the axis {axis} is empty; give it a choice or take it out")
    layout = {"rows": "reducer", "columns": "task", **(raw.get("layout") or {})}
    for side, axis in layout.items():
        if side not in ("rows", "columns"):
            raise unknown("side of layout", side, ("rows", "columns"), where)
        if axis not in AXES:
            raise unknown(f"axis of layout.{side}", axis, AXES, where)
    return Study(
        name,
        raw.get("title", name),
        raw.get("source"),
        blocks,
        layout,
        raw.get("published") or {},
        raw.get("limit"),
        _latency(raw["latency"], where) if "latency" in raw else None,
    )


def _latency(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise GridError(f"{where}: latency must be a mapping of {', '.join(LATENCY)} ({{}} for the defaults)")
    for key in set(given) - set(LATENCY):
        raise unknown("key", key, LATENCY, f"{where}: latency")
    made = {k: list(v) if isinstance(v, list | tuple) else v for k, v in {**LATENCY, **given}.items()}
    for key, value in made.items():
        several = isinstance(LATENCY[key], tuple)
        numbers = value if several and isinstance(value, list) else [] if several else [value]
        least = 0 if key == "warmup" else 1
        if not numbers or not all(type(n) is int and n >= least for n in numbers):
            what = "a list of whole numbers" if several else "a whole number"
            raise GridError(f"{where}: latency.{key} must be {what} from {least} on, not {value!r}")
    return made


def _read(file: Path, where: str) -> dict[str, Any]:
    """Plain data, numbers spelled as hydra reads them (1e-3 is a number)."""
    try:
        raw = OmegaConf.to_container(OmegaConf.load(file))
    except (yaml.YAMLError, OmegaConfBaseException, OSError) as error:
        raise GridError(f"{where} cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise GridError(f"{where} must hold a mapping with blocks")
    return raw  # type: ignore[return-value]


def label(choice: Any) -> str:
    """How a choice is called in a table: its `as`, or its name and what was changed."""
    if not isinstance(choice, Mapping):
        return str(choice)
    name, values = next(iter(choice.items()))
    values = dict(values or {})
    if "as" in values:
        return str(values["as"])
    return " ".join([str(name), *(f"{k}={_short(v)}" for k, v in values.items())])


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = [k for k in value if k != "of"]
        return f"{value[inner[0]]}/{value['of']}" if "of" in value else f"like {value.get('like')}"
    return str(value)


def points(study: Study, choose: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every point of every block's axes; `choose` replaces whole axes (model=...)."""
    for block in study.blocks:
        axes = {a: block[a] if isinstance(block.get(a), list) else [block[a]] for a in AXES if a in block}
        axes |= {a: [v] for a, v in choose.items() if a in AXES}
        for values in itertools.product(*axes.values()):
            yield {**dict(zip(axes, values, strict=True)), "limit": study.limit}


def expand(study: Study, builder: Builder) -> list[Entry]:
    """The study's cells, equal ones once, each with its baseline and its blind twin (added where they are missing)."""
    where = f"conf/study/{study.name}.yaml"
    entries: dict[tuple[str, str, str], Entry] = {}
    support: dict[str, Entry] = {}
    for point in points(study, builder.choose):
        cell, like = builder.cell(point, where)
        row, column = (
            label(point.get(study.layout[k], DEFAULTS.get(study.layout[k], ""))) for k in ("rows", "columns")
        )
        base: dict[str, str] = {}
        for name in ("none", "blind"):
            other, _ = builder.cell({**point, "reducer": name, "seed": 0}, where)
            base[name] = other.id()
            support.setdefault(other.id(), Entry(other, name, column, support=True))
        if like:
            support.setdefault(like.id(), Entry(like, "budget", column, support=True))
        budget = like.prediction_id() if like else None
        entries[(cell.id(), row, column)] = Entry(
            cell,
            row,
            column,
            False,
            base["none"],
            base["blind"],
            budget,
            _published(study, cell, row, column),
        )
    _check_published(study, entries.values(), where)
    shown = {entry.cell.id() for entry in entries.values()}
    return [*entries.values(), *(e for key, e in support.items() if key not in shown)]


def _check_published(study: Study, entries: Iterable[Entry], where: str) -> None:
    """A published number stands beside a row and a column that the table has."""
    entries = list(entries)
    rows, columns = {e.row for e in entries}, {e.column for e in entries}
    for row, values in (study.published.get("values") or {}).items():
        if row not in rows:
            raise unknown("row", row, rows, f"{where}: published.values")
        for column in values or {}:
            if column not in columns:
                raise unknown("column", column, columns, f"{where}: published.values.{row}")


def _published(study: Study, cell: Cell, row: str, column: str) -> float | None:
    """The paper's number, only where this cell's model is the published one."""
    if study.published.get("model") != cell.model.get("published"):
        return None
    value = ((study.published.get("values") or {}).get(row) or {}).get(column)
    return None if value is None else float(value)
