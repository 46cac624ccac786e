"""The cells of a study: every point of its axes with its twins, and the paper's figure where it may stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prunegrid.grid import published
from prunegrid.grid.builder import DEFAULTS, Builder
from prunegrid.grid.cell import Cell
from prunegrid.grid.study import Study, label, place, points


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
    paper: bool = True  # the model is the one that the study's file has in this place


def _filed(study: Study, choose: Mapping[str, Any]) -> set[tuple[str, str, str]] | None:
    """(row, column, model) as the study's file has them; None where no other model was chosen."""
    if "model" not in choose or not study.published:
        return None
    kept = {axis: value for axis, value in choose.items() if axis != "model"}
    return {
        (
            place(study, point, "rows"),
            place(study, point, "columns"),
            label(point.get("model", DEFAULTS["model"])),
        )
        for point in points(study, kept)
    }


def expand(study: Study, builder: Builder) -> list[Entry]:
    """The study's cells, equal ones once, each with its baseline and its blind twin (added where they are missing)."""
    where = study.file
    entries: dict[tuple[str, str, str], Entry] = {}
    support: dict[str, Entry] = {}
    twins: dict[str, Cell] = {}  # most points share theirs
    filed = _filed(study, builder.choose)
    for point in points(study, builder.choose):
        cell, like = builder.cell(point, where)
        row, column = (place(study, point, side) for side in ("rows", "columns"))
        base: dict[str, str] = {}
        for name in ("none", "blind"):
            # A training draws by its seed: a tuned cell is set against full tokens that were trained with the same one.
            alike = name == "none" and cell.tuning["name"] != "none"
            twin = {**point, "reducer": name, "seed": cell.seed if alike else 0}
            other = twins.get(repr(twin)) or builder.cell(twin, where)[0]
            twins[repr(twin)] = other
            base[name] = other.id()
            support.setdefault(other.id(), Entry(other, name, column, support=True))
        if like:
            support.setdefault(like.id(), Entry(like, "budget", column, support=True))
        budget = like.prediction_id() if like else None
        paper = filed is None or (row, column, cell.model["name"]) in filed
        entries[(cell.id(), row, column)] = Entry(
            cell,
            row,
            column,
            False,
            base["none"],
            base["blind"],
            budget,
            published.value(study.published, cell.model, row, column) if paper else None,
            paper,
        )
    if "model" not in builder.choose:
        published.check_places(study.published, {(e.row, e.column) for e in entries.values()}, where)
    shown = {entry.cell.id() for entry in entries.values()}
    return [*entries.values(), *(e for key, e in support.items() if key not in shown)]
