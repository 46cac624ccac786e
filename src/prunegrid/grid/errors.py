"""Errors of the grid: each names the bad value, where it stands and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LISTED = 40  # names that an error prints at most


class GridError(ValueError):
    """A configuration that cannot be planned."""


def unknown(what: str, name: object, known: Iterable[object], where: str) -> GridError:
    """`name` does not exist; says what does, nearest first."""
    word, names = str(name), sorted(map(str, known))
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    if len(names) > LISTED and near:
        return GridError(f"{where}: unknown {what} {word!r}.{hint} There are {len(names)}")
    listed = ", ".join(names[:LISTED]) or "none"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return GridError(f"{where}: unknown {what} {word!r}.{hint} There are: {listed}{more}")
