"""A paper's cost table, computed again, as a sheet of the study that stands for it.

It is computed for the paper's own model and machine, whatever model the study runs: no number of a run is in it.
"""

from __future__ import annotations

from prunegrid.cost import tables
from prunegrid.cost.tables.table import Cell, Table
from prunegrid.report.cell import ResultError
from prunegrid.report.results import Study
from prunegrid.report.sheet import Sheet

LEAD = (
    "Computed, rounded half up to the decimals of the published figure (unrounded) / published, for the paper's own "
    "model and machine; nothing of it was run. No mark: the same digits"
)


def load(study: Study) -> Table | None:
    """The table that the study names; None where it names none. ResultError if there is no such table."""
    name = study.plan.get("cost_table")
    if not name:
        return None
    try:
        return tables.load(str(name))
    except ValueError as error:
        raise ResultError(
            f"study {study.name!r}: {error}; correct its cost_table and plan it again"
        ) from error


def sheet(study: Study) -> Sheet | None:
    """Ours / theirs, with a numbered note wherever something is to be said of a figure."""
    table = load(study)
    if table is None:
        return None
    columns = table.columns or tuple(dict.fromkeys(cell.column for cell in table.cells))
    places = dict.fromkeys((cell.row, cell.tokens) for cell in table.cells)
    cells = {(cell.row, cell.tokens, cell.column): cell for cell in table.cells}
    notes = list(dict.fromkeys(cell.note for cell in table.cells if cell.note))
    rows = [
        [row, tokens, *(_text(cells.get((row, tokens, column)), notes) for column in columns)]
        for row, tokens in places
    ]
    return Sheet(f"Cost, computed: {table.title}", ["", "tokens", *columns], rows, _lead(table), notes)


def _lead(table: Table) -> str:
    tolerance = max(cell.tolerance for cell in table.cells)
    near = f"; ~: unrounded within {tolerance:g}" if tolerance else ""
    same = f"{sum(cell.same_digits for cell in table.cells)} of {len(table.cells)} have the same digits"
    return f"{LEAD}{near}; !: neither. {same}. After {table.source}. {table.method.rstrip('.')}."


def _text(cell: Cell | None, notes: list[str]) -> str:
    if cell is None:
        return ""
    sign = "" if cell.same_digits else f" {cell.sign}"
    mark = f" ({notes.index(cell.note) + 1})" if cell.note else ""
    return f"{cell.rounded} ({cell.unrounded}) / {cell.published}{sign}{mark}"


def lines(table: Table) -> list[list[object]]:
    """For CSV: a line per figure, unrounded and as it was compared."""
    head: list[object] = [
        *("row", "column", "tokens", "computed", "rounded", "published", "same_digits", "agrees", "note")
    ]
    return [head] + [
        [
            c.row,
            c.column,
            c.tokens,
            c.computed,
            c.rounded,
            c.published,
            str(c.same_digits).lower(),
            str(c.agrees).lower(),
            c.note,
        ]
        for c in table.cells
    ]
