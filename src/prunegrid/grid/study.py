"""A study: axes over options -> cells with rows and columns. One yaml per table or figure.

title, source     what it is, and where it was published
blocks            each: axis -> a choice or a list of them; axes multiply within a block, and blocks add up
layout            {rows: AXIS or [AXES], columns: ...}: how the table is laid out
published         the paper's figures (prunegrid.grid.published)
limit, latency    first questions only; what to measure beside the score
cost_table        the same table computed without a run: `prunegrid cost-table NAME`
unsupported       why nothing of it can run, instead of blocks
mini              what differs in its twin on the embedded model (prunegrid.grid.twin); false: it has none
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from prunegrid.grid import plain, published
from prunegrid.grid.builder import DEFAULTS
from prunegrid.grid.cell import NAME
from prunegrid.grid.errors import GridError, unknown
from prunegrid.grid.options import GROUPS

AXES = (*GROUPS, "seed", "limit")
KEYS = {
    "title",
    "source",
    "blocks",
    "layout",
    "published",
    "limit",
    "latency",
    "cost_table",
    "unsupported",
    "mini",
}
# What a study that asks for measured latency may set, and what it gets where it does not.
LATENCY: Mapping[str, Any] = MappingProxyType(
    {"batch_sizes": (1, 8), "new_tokens": (1, 64), "repeats": 50, "warmup": 10}
)


@dataclass(frozen=True)
class Study:
    """conf/study/<name>.yaml, read and checked."""

    name: str
    title: str
    source: str | None
    blocks: Sequence[Mapping[str, Any]]
    layout: Mapping[str, str | Sequence[str]]  # several axes: their labels in a row
    published: Mapping[str, Any] = field(
        default_factory=dict
    )  # prunegrid.grid.published says what it may hold
    limit: int | None = None
    latency: Mapping[str, Any] | None = None  # LATENCY's keys; None: nothing is measured
    cost_table: str | None = None  # the same table computed: `prunegrid cost-table NAME`
    unsupported: str | None = None  # why nothing of it can run; there are no blocks then
    mini: Mapping[str, Any] | None = field(
        default_factory=dict
    )  # what differs in its twin; None: it has no twin
    file: str = ""  # as errors name it


def read(conf: Path, name: str) -> Study:
    """The study of conf/study/<name>.yaml. Unknown names and keys are errors that name the file."""
    known = sorted(p.stem for p in (conf / "study").glob("*.yaml"))
    if not NAME.fullmatch(name) or name not in known:
        raise unknown("study", name, known, "study=")
    return read_file(conf / "study" / f"{name}.yaml", name, f"conf/study/{name}.yaml")


def read_file(file: Path, name: str, where: str) -> Study:
    """A study in any file; `where` is what errors call it."""
    return checked(_read(file, where), name, where)


def checked(raw: Mapping[str, Any], name: str, where: str) -> Study:
    """A study from the content of its file."""
    for key in set(raw) - KEYS:
        raise unknown("key", key, KEYS, where)
    unsupported = raw.get("unsupported")
    if unsupported is not None and (not isinstance(unsupported, str) or raw.get("blocks")):
        raise GridError(f"{where}: unsupported is the reason why nothing runs; a study with it has no blocks")
    layout = {"rows": "reducer", "columns": "task", **(raw.get("layout") or {})}
    for side in layout:
        if side not in ("rows", "columns"):
            raise unknown("side of layout", side, ("rows", "columns"), where)
        for axis in axes_of(layout, side):
            if axis not in AXES:
                raise unknown(f"axis of layout.{side}", axis, AXES, where)
    return Study(
        name,
        raw.get("title", name),
        raw.get("source"),
        [] if unsupported else _blocks(raw.get("blocks"), where),
        layout,
        published.checked(raw.get("published") or {}, where),
        raw.get("limit"),
        _latency(raw["latency"], where) if "latency" in raw else None,
        raw.get("cost_table"),
        unsupported,
        None if raw.get("mini") is False else raw.get("mini") or {},
        where,
    )


def _blocks(blocks: Any, where: str) -> list[Mapping[str, Any]]:
    if not isinstance(blocks, list) or not blocks or not all(isinstance(b, Mapping) for b in blocks):
        raise GridError(f"{where}: blocks must be a list of at least one mapping of axes {', '.join(AXES)}")
    for block in blocks:
        for axis, choices in block.items():
            if axis not in AXES:
                raise unknown("axis", axis, AXES, where)
            if choices is None or choices == []:
                raise GridError(f"{where}: the axis {axis} is empty; give it a choice or take it out")
    return blocks


def axes_of(layout: Mapping[str, str | Sequence[str]], side: str) -> tuple[str, ...]:
    """The axes that name the rows or the columns."""
    given = layout[side]
    return (given,) if isinstance(given, str) else tuple(given)


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
    except (yaml.YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise plain.broken(where, error) from error
    if not isinstance(raw, dict):
        raise GridError(f"{where} must hold a mapping with blocks")
    return cast(dict[str, Any], raw)


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


def place(study: Study, point: Mapping[str, Any], side: str) -> str:
    """The row or column of a point: the labels of the layout's axes. Only the first one is named by default."""
    first, *others = axes_of(study.layout, side)
    parts = [_named(first, point.get(first, DEFAULTS.get(first, "")))]
    parts += [_named(axis, point[axis]) for axis in others if point.get(axis) is not None]
    return ", ".join(filter(None, parts))


def _named(axis: str, choice: Any) -> str:
    return label(choice) if axis in GROUPS or axis == "seed" else f"{axis} {choice}"


def points(study: Study, choose: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every point of every block's axes; `choose` replaces whole axes (model=...)."""
    for block in study.blocks:
        axes = {a: block[a] if isinstance(block.get(a), list) else [block[a]] for a in AXES if a in block}
        axes |= {a: [v] for a, v in choose.items() if a in AXES}
        for values in itertools.product(*axes.values()):
            yield {"limit": study.limit, **dict(zip(axes, values, strict=True))}
