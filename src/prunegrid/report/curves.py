"""Which rows of a study differ in one setting alone: the curves that can be drawn through them.

Found from the cells' own settings, so any study with such rows has its curves, and a new one needs nothing said.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prunegrid.report.cell import number
from prunegrid.report.summary import Summary

BUDGET = "budget"  # the parameter of curves over the number of tokens, whatever a method calls it
_BUDGETS = frozenset({"keep", "rows", "columns", "out", "side", "entering", "contextual"})
_POINTS = 3  # fewer are no curve

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    """One row of the table, and the value of the parameter there: a number, several, or a word (group: all)."""

    row: str
    value: Any


@dataclass(frozen=True)
class Curve:
    """Rows of one method that differ in `parameter` alone, in its order; words come after numbers."""

    parameter: str
    label: str
    reducer: str
    points: tuple[Point, ...]

    @property
    def numeric(self) -> bool:
        """Whether every point has a place on an axis of numbers."""
        return all(_is_number(point.value) for point in self.points)


def curves(summary: Summary) -> list[Curve]:
    """All curves of the study. A row stands in one curve per setting that varies."""
    alike: dict[str, dict[str, Settings]] = {}
    for row in summary.rows:
        cell = summary.of_row(row)[0].cells[0]
        settings = {k: v for k, v in cell.planned["reducer"].items() if k not in ("name", "_target_")}
        key = _text([cell.model, cell.reducer, _trained(cell.planned.get("tuning"))])
        alike.setdefault(key, {})[row] = settings
    found = []
    for rows in alike.values():
        for parameter, points in _of_method(rows):
            cells = [summary.of_row(point.row)[0].cells[0] for point in points]
            label = _label(parameter, cells[0].reducer, [cell.row for cell in cells])
            found.append(Curve(parameter, label, cells[0].reducer, points))
    return found


def _trained(tuning: Settings | None) -> list[Any]:
    """By what a row was tuned; with which settings of the method on differs along a curve."""
    return [] if not tuning else [tuning.get("name"), *_trained(tuning.get("after"))]


def _of_method(rows: Mapping[str, Settings]) -> Iterator[tuple[str, tuple[Point, ...]]]:
    varying = [
        key
        for key in dict.fromkeys(itertools.chain(*rows.values()))
        if len({_text(s.get(key)) for s in rows.values()}) > 1
    ]
    others = [key for key in varying if key not in _BUDGETS]
    yield from _lines(BUDGET, rows, [key for key in varying if key in _BUDGETS])
    single = [line for key in others for line in _lines(key, rows, [key])]
    yield from single
    if not single:  # heavy and recent shares move together
        for pair in itertools.combinations(others, 2):
            yield from _lines(" / ".join(pair), rows, pair)


def _lines(
    parameter: str, rows: Mapping[str, Settings], keys: Sequence[str]
) -> Iterator[tuple[str, tuple[Point, ...]]]:
    """Rows that are alike but for `keys`, at least three values of them."""
    groups: dict[str, dict[Any, Point]] = {}
    for row, settings in rows.items() if keys else ():
        rest = _text({k: v for k, v in settings.items() if k not in keys})
        value = tuple(_plain(settings.get(key)) for key in keys)
        groups.setdefault(rest, {}).setdefault(value, Point(row, value[0] if len(keys) == 1 else value))
    for group in groups.values():
        points = sorted(group.values(), key=lambda p: order(p.value))
        numbers = [p for p in points if all(map(_is_number, _several(p.value)))]
        if len(numbers) >= _POINTS or (parameter == BUDGET and len(points) >= _POINTS):
            yield parameter, tuple(points)


def _plain(value: Any) -> Any:
    """Something that can be a key; the budget of another method's trace is a word."""
    if isinstance(value, Mapping):
        return "like another" if "like" in value else _text(value)
    return tuple(value) if isinstance(value, list) else value


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and number(value) is not None


def order(value: Any) -> list[tuple[bool, float, str]]:
    """Numbers by size, then words."""
    return [(not _is_number(v), float(v) if _is_number(v) else 0.0, str(v)) for v in _several(value)]


def _label(parameter: str, reducer: str, rows: Sequence[str]) -> str:
    """What the rows' labels have in common: `top-k CLS 16`, `top-k CLS 32` -> `top-k CLS`."""
    begin = re.sub(r"[\s\d.,=/%+-]*$", "", _beginning(rows))
    end = re.search(r",[^,]*$", _beginning([row[::-1] for row in rows])[::-1])
    head = reducer if begin in ("", parameter, *parameter.split(" / ")) else begin
    return head + (end[0] if end and not begin else "")


def _beginning(texts: Sequence[str]) -> str:
    """The letters that all begin with."""
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    return "".join(letters[0] for letters in same)


def parameters(found: Iterable[Curve]) -> list[str]:
    """The settings that some curve runs over, the budget left out."""
    return [name for name in dict.fromkeys(curve.parameter for curve in found) if name != BUDGET]
