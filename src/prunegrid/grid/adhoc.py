"""Cells given by hand, as hydra overrides: `reducer=ivtp reducer.tau=0.15 task=mini_vqa`.

They stand in a study of their own, results/plan/adhoc.yaml, one block each: so that listing, running, comparing and
tracking them goes the way of every other cell. It belongs to the results, not to the configuration that git keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from prunegrid.grid import plain
from prunegrid.grid.errors import GridError, unknown
from prunegrid.grid.options import GROUPS
from prunegrid.grid.study import Study, checked, read_file

NAME = "adhoc"
LAYOUT = {"rows": ["reducer", "model", "tuning", "decoding", "seed", "limit"], "columns": "task"}


def file(results: Path) -> Path:
    return results / "plan" / f"{NAME}.yaml"


def load(results: Path) -> Study:
    """The study of all cells given so far. GridError if there is none."""
    where = file(results)
    if not where.exists():
        raise GridError(
            f"{where}: no cell was given yet; give one: `prunegrid cell reducer=prumerge task=mini_vqa`"
        )
    return read_file(where, NAME, str(where))


def alone(point: dict[str, Any], where: str) -> Study:
    """The study of one cell that was not given yet."""
    return checked({"layout": LAYOUT, "blocks": [point]}, NAME, where)


def document(results: Path, point: dict[str, Any]) -> dict[str, Any]:
    """The study with one more block, if it does not hold it yet."""
    where = file(results)
    made = (plain.read(where, str(where)) if where.exists() else None) or {}
    blocks = made.get("blocks") or []
    return {
        "title": "Cells given by hand",
        "layout": LAYOUT,
        "blocks": blocks if point in blocks else [*blocks, point],
    }


def point(words: Sequence[str]) -> dict[str, Any]:
    """Overrides of conf/cell.yaml -> a point of the axes. Raises GridError for anything that is not one cell."""
    picked: dict[str, Any] = {}
    changed: dict[str, dict[str, Any]] = {}
    for word in words:
        key, value = _parsed(word)
        group, dot, option = key.partition(".")
        if not dot and key in (*GROUPS, "seed", "limit"):
            picked[key] = value
        elif dot and group in GROUPS:
            changed.setdefault(group, {})[option] = value
        else:
            raise unknown("option of a cell", key, [*GROUPS, "seed", "limit"], word)
    for group, values in changed.items():
        if group not in picked:
            raise GridError(f"{group}.{next(iter(values))}: say which {group} it belongs to: {group}=NAME")
        picked[group] = {picked[group]: values}
    return {axis: choice for axis, choice in picked.items() if choice is not None}


def _parsed(word: str) -> tuple[str, Any]:
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
    except HydraException as error:
        raise GridError(f"{word!r} is no override: {str(error).splitlines()[0]}") from error
    if override.is_delete() or override.is_add() or override.package is not None:
        raise GridError(f"{word!r}: a cell's options are all there; write GROUP=NAME or GROUP.OPTION=VALUE")
    if override.is_sweep_override():
        raise GridError(f"{word!r} is more than one cell; several are a study: conf/study/NAME.yaml")
    return override.key_or_group, _plain(override.value())


def _plain(value: Any) -> Any:
    """hydra keeps quotes; mappings may have quoted keys."""
    if isinstance(value, dict):
        return {str(_plain(k)): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)
