"""The papers' cost tables, recomputed: each figure of ours beside the published one. Answers in milliseconds.

`prunegrid cost-table NAME [--json]` prints `render(name, as_json)`; `names()` lists what there is.
"""

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType

from prunegrid.cost.tables import ivtp_tables, prumerge, vtip
from prunegrid.cost.tables.layout import as_text, to_json
from prunegrid.cost.tables.table import Table

_TABLES: Mapping[str, Callable[[], Table]] = MappingProxyType(
    {
        "prumerge-table2": prumerge.table2,
        "vtip-table6": vtip.table6,
        "ivtp-table1": ivtp_tables.table1,
        "ivtp-table2": ivtp_tables.table2,
        "ivtp-table3": ivtp_tables.table3,
        "ivtp-table4": ivtp_tables.table4,
        "ivtp-table9": ivtp_tables.table9,
    }
)


def names() -> tuple[str, ...]:
    """The tables that can be rendered."""
    return tuple(_TABLES)


def load(name: str) -> Table:
    """Computes a table. Raises ValueError for an unknown name, with what exists."""
    if name not in _TABLES:
        close = difflib.get_close_matches(name, _TABLES, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"unknown cost table {name!r}{hint}; known: {', '.join(_TABLES)}")
    return _TABLES[name]()


def render(name: str, as_json: bool = False) -> str:
    """The table as text for a terminal, or as JSON. Raises as `load`."""
    table = load(name)
    return to_json(name, table) if as_json else as_text(table)
