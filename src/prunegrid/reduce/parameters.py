"""What a method declares of its parameters, held against what it was given: one check for all methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", NoneType: "null"}
SEVERAL = (tuple, Sequence)


def check_declared(method: Any) -> None:
    """Raise ValueError for the first field of a dataclass whose value is not of its declared type: a choice (Literal),
    number, switch, word, null, or several of them. A type of any other kind is not looked at."""
    kind: Any = type(method)
    hints = _hints(kind)
    for field in fields(method):
        value, allowed = getattr(method, field.name), _allowed(hints[field.name])
        if not any(_fits(value, each) for each in allowed):
            raise ValueError(f"{kind.__name__}: {field.name}={value!r} must be {_said(allowed)}")


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _allowed(hint: Any) -> list[Any]:
    """The types of a union, each value of a Literal by itself."""
    if get_origin(hint) in (Union, UnionType):
        return [each for part in get_args(hint) for each in _allowed(part)]
    return [Literal[value] for value in get_args(hint)] if get_origin(hint) is Literal else [hint]


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return bool(value == get_args(kind)[0]) and isinstance(value, type(get_args(kind)[0]))
    if get_origin(kind) in SEVERAL:
        parts = _allowed(get_args(kind)[0])
        return isinstance(value, tuple | list) and all(any(_fits(v, p) for p in parts) for v in value)
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    return kind not in WORDS or isinstance(value, kind)


def _said(allowed: list[Any]) -> str:
    *first, last = dict.fromkeys(map(_word, allowed))
    if {int, float} <= set(allowed):
        first = [word for word in first if word != WORDS[int]]
    return f"{', '.join(first)} or {last}" if first else last


def _word(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return repr(get_args(kind)[0])
    if get_origin(kind) in SEVERAL:
        return f"a list, each {_said(_allowed(get_args(kind)[0]))}"
    return WORDS.get(kind, str(kind))
