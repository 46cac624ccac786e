"""A table as text (ours rounded as theirs, a sign, theirs; ours unrounded below) and as JSON."""

import json
import textwrap

from prunegrid.cost.tables.table import Cell, Table

WIDTH = 110


def as_text(table: Table) -> str:
    """Aligned columns, two lines per row; the sign says how a figure was judged (`Cell.sign`), [n] is a note below."""
    columns = table.columns or tuple(dict.fromkeys(cell.column for cell in table.cells))
    rows = list(dict.fromkeys((cell.row, cell.tokens) for cell in table.cells))
    notes = list(dict.fromkeys(cell.note for cell in table.cells if cell.note))
    cells = {(cell.row, cell.tokens, cell.column): cell for cell in table.cells}
    grid = [["", "tokens", *columns]]
    for row, tokens in rows:
        found = [cells.get((row, tokens, column)) for column in columns]
        grid.append([row, tokens, *(_cell(cell, notes) if cell else "" for cell in found)])
        grid.append(["  unrounded", "", *(cell.unrounded if cell else "" for cell in found)])
    widths = [max(len(line[i]) for line in grid) for i in range(len(grid[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in grid]
    same = sum(cell.same_digits for cell in table.cells)
    agree = sum(cell.agrees for cell in table.cells)
    head = [
        table.title,
        f"Source: {table.source}",
        *textwrap.wrap(table.method, WIDTH, break_on_hyphens=False),
        "",
    ]
    tail = ["", _legend(table), f"{same} of {len(table.cells)} figures have the same digits; {agree} agree."]
    for number, note in enumerate(notes, 1):
        tail += textwrap.wrap(f"[{number}] {note}", WIDTH, subsequent_indent="    ", break_on_hyphens=False)
    return "\n".join(line.rstrip() for line in [*head, *lines, *tail])


def to_json(name: str, table: Table) -> str:
    """Every cell with both figures, ours unrounded and as it was compared; `agree` and `same_digits` count cells."""
    cells = [
        {
            "row": cell.row,
            "column": cell.column,
            "tokens": cell.tokens,
            "computed": cell.computed,
            "rounded": cell.rounded,
            "published": float(cell.published),
            "printed": cell.published,
            "same_digits": cell.same_digits,
            "agrees": cell.agrees,
            "tolerance": cell.tolerance,
            "note": cell.note,
        }
        for cell in table.cells
    ]
    document = {
        "name": name,
        "title": table.title,
        "source": table.source,
        "method": table.method,
        "rounding": "half up",
        "figures": len(cells),
        "same_digits": sum(cell.same_digits for cell in table.cells),
        "agree": sum(cell.agrees for cell in table.cells),
        "cells": cells,
    }
    return json.dumps(document, indent=2)


def _cell(cell: Cell, notes: list[str]) -> str:
    mark = f" [{notes.index(cell.note) + 1}]" if cell.note else ""
    return f"{cell.rounded} {cell.sign} {cell.published}{mark}"


def _legend(table: Table) -> str:
    tolerance = max(cell.tolerance for cell in table.cells)
    near = f"~ unrounded within {tolerance:g}, " if tolerance else ""
    return f"ours rounded half up to their decimals, then theirs: = same digits, {near}! neither"
