"""From cells to table fields: seeds joined, differences corrected for the number of benchmarks."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from prunegrid.report.cell import Cell, Estimate, ResultError, estimate, is_mini, number
from prunegrid.report.results import Study
from prunegrid.stats.holm import holm

ALPHA = 0.05
_Z = statistics.NormalDist().inv_cdf(0.975)  # the files hold 95 % intervals

FieldState = Literal["done", "partial", "failed", "missing"]


@dataclass(frozen=True)
class Field:
    """One field of the table: the cells that differ only in their seed, in display units (% or points).

    `delta` is score minus full tokens; `delta.p` is corrected by Holm over the benchmarks of its row.
    `flops` per sample. `tokens` = (mean, min, max) of visual tokens entering the LLM.
    """

    row: str
    column: str
    model: str
    reducer: str
    cells: tuple[Cell, ...]
    state: FieldState
    seeds: int  # how many of the cells are done
    metric: str = ""
    unit: str = "%"
    score: Estimate | None = None
    seed_sd: float | None = None
    delta: Estimate | None = None
    retention: Estimate | None = None
    retention_floor: Estimate | None = None
    tokens: tuple[float, float, float] | None = None
    equivalent: float | None = None
    flops: float | None = None
    relative_flops: float | None = None
    relative_kv: float | None = None
    uncounted: bool = False  # `flops` of a cell leave the reducer's own arithmetic out
    published: float | None = None

    @property
    def significant(self) -> bool:
        """Differs from full tokens at 5 % after Holm's correction."""
        return self.delta is not None and self.delta.p is not None and self.delta.p <= ALPHA

    @property
    def digits(self) -> int:
        """Decimals that are worth printing: points of MME come in thousands."""
        return 0 if self.score is not None and abs(self.score.value) >= 1000 else 1


@dataclass(frozen=True)
class Summary:
    """A study as a table: `fields[row, column]`; rows and columns in the plan's order.

    `references`: full-token and blind fields that the table does not show, for lines in figures.
    """

    study: Study
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    fields: dict[tuple[str, str], Field]
    references: tuple[Field, ...] = ()

    def of_row(self, row: str) -> list[Field]:
        return [self.fields[row, column] for column in self.columns if (row, column) in self.fields]

    def of_column(self, column: str) -> list[Field]:
        return [self.fields[row, column] for row in self.rows if (row, column) in self.fields]

    def finished(self, column: str) -> list[Cell]:
        """One finished cell per method on the benchmark `column`, full tokens first."""
        cells = (next((c for c in f.cells if c.state == "done"), None) for f in self.of_column(column))
        return sorted((cell for cell in cells if cell), key=lambda cell: cell.reducer != "none")


def summarise(study: Study) -> Summary:
    """Group the cells of `study`. ResultError if two cells would share a field and a seed."""
    several = len(study.models) > 1
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in study.cells:
        # two models in one row must never be averaged as if they were seeds
        row = f"{cell.model}: {cell.row}" if several and cell.model not in cell.row else cell.row
        groups.setdefault((row, cell.column), []).append(cell)
    fields = {place: _field(place, cells, study) for place, cells in groups.items()}
    rows, columns = (tuple(dict.fromkeys(place[i] for place in groups)) for i in (0, 1))
    for row in rows:
        _correct(fields, [place for place in fields if place[0] == row])
    references = [cell for cell in study.support if cell.reducer in ("none", "blind")]
    lines = tuple(_field((cell.row, cell.column), [cell], study) for cell in references)
    return Summary(study, rows, columns, fields, lines)


def _correct(fields: dict[tuple[str, str], Field], places: Sequence[tuple[str, str]]) -> None:
    """Replace the p-values of one row by Holm's: one claim, "this method differs", on each benchmark."""
    raw = {place: d.p for place in places if (d := fields[place].delta) is not None and d.p is not None}
    for place, p in zip(raw, holm(list(raw.values())) if raw else [], strict=True):
        delta = fields[place].delta
        assert delta is not None
        fields[place] = replace(fields[place], delta=replace(delta, p=float(p)))


def _field(place: tuple[str, str], cells: Sequence[Cell], study: Study) -> Field:
    row, column = place
    seeds = [cell.seed for cell in cells]
    if len(set(seeds)) < len(seeds):
        ids = ", ".join(cell.id for cell in cells)
        raise ResultError(
            f"study {study.name!r}: cells {ids} share row {row!r}, column {column!r} and a seed"
        )
    first, done = cells[0], [cell for cell in cells if cell.state == "done"]
    empty = Field(row, column, first.model, first.reducer, tuple(cells), _state(cells), len(done))
    empty = replace(empty, published=_published(first, study))
    return empty if not done else _measured(empty, done)


def _measured(empty: Field, done: Sequence[Cell]) -> Field:
    """Fill a field from its finished cells."""
    score = done[0].score
    unit = str(score.get("unit") or ("%" if float(score.get("scale") or 1.0) <= 1 else "points"))
    factor = 100.0 if unit == "%" else 1.0
    bases = [cell.beside("baseline") for cell in done]
    floors = [cell.beside("blind") for cell in done]
    scores = [_score(cell, factor) for cell in done]
    tokens = [t for cell in done if (t := cell.cost.get("tokens"))]
    return replace(
        empty,
        metric=str(score["primary"]),
        unit=unit,
        score=join_seeds(scores),
        seed_sd=statistics.stdev(s.value for s in scores) if len(scores) > 1 else None,
        delta=with_p(join_seeds(_scaled(estimate(b, "delta"), factor) for b in bases)),
        retention=join_seeds(_scaled(estimate(b, "retention", "retention_interval"), 100) for b in bases),
        retention_floor=join_seeds(_scaled(estimate(f, "retention_over_floor"), 100) for f in floors),
        tokens=_tokens(tokens),
        equivalent=_mean(number(cell.cost.get("equivalent_tokens")) for cell in done),
        flops=_mean(number((cell.cost.get("flops") or {}).get("total")) for cell in done),
        relative_flops=_mean(number(cell.cost.get("relative_flops")) for cell in done),
        relative_kv=_mean(number(cell.cost.get("relative_kv")) for cell in done),
        uncounted=any(uncounted(cell.cost.get("flops")) for cell in done),
    )


def uncounted(parts: Mapping[str, object] | None) -> bool:
    """Whether FLOPs by part leave out what the reducer computes itself."""
    return bool(parts) and (parts or {}).get("reducer") is None


def _state(cells: Sequence[Cell]) -> FieldState:
    states = {cell.state for cell in cells}
    if states == {"done"}:
        return "done"
    if "done" in states:
        return "partial"
    return "failed" if "failed" in states else "missing"


def comparable(cell: Cell, study: Study) -> bool:
    """Whether a paper's figure may stand beside this cell: its model is one that the paper measured, in this place."""
    if is_mini(cell.model) or not cell.planned.get("paper", True):
        return False
    said = (study.plan.get("published") or {}).get("model")
    measured = {said} if isinstance(said, str) else set(said or ())
    own = (cell.config.get("model") or {}).get("published") or cell.model
    return not measured or bool(measured & {own, cell.model})


def _published(cell: Cell, study: Study) -> float | None:
    """The paper's number of this cell."""
    return number(cell.planned.get("published")) if comparable(cell, study) else None


def _score(cell: Cell, factor: float) -> Estimate:
    name = str(cell.score["primary"])
    value = number(cell.score["metrics"].get(name))
    if value is None:
        raise ResultError(
            f"{cell.folder / 'score.json'}: the primary metric {name!r} is not a number; score again"
        )
    low, high = (cell.score.get("interval") or {}).get(name) or (None, None)
    return _scaled(Estimate(value, number(low), number(high)), factor)  # type: ignore[return-value]


def _scaled(x: Estimate | None, factor: float) -> Estimate | None:
    if x is None:
        return None
    low, high = (None if bound is None else bound * factor for bound in (x.low, x.high))
    return Estimate(x.value * factor, low, high, x.p)


def join_seeds(several: Iterable[Estimate | None]) -> Estimate | None:
    """Mean over seeds. Its interval adds the seeds' variance to that of the questions.

    The seeds answer the same questions, so the questions' part does not shrink with more seeds.
    """
    known = [x for x in several if x is not None]
    if len(known) < 2:
        return known[0] if known else None
    value = statistics.fmean(x.value for x in known)
    halves = [x.half for x in known if x.half is not None]
    if len(halves) < len(known):
        return Estimate(value)
    spread = statistics.variance(x.value for x in known) / len(known)
    half = _Z * math.sqrt((statistics.fmean(halves) / _Z) ** 2 + spread)
    return Estimate(value, value - half, value + half)


def with_p(x: Estimate | None) -> Estimate | None:
    """Keep the scorer's p-value; without one, read it off the interval (normal approximation)."""
    if x is None or x.p is not None or not x.half:
        # an interval without length belongs to equal answers: no difference, whatever the test
        return replace(x, p=1.0) if x is not None and x.p is None and x.half == 0 and x.value == 0 else x
    z = abs(x.value) / (x.half / _Z)
    return replace(x, p=2 * (1 - statistics.NormalDist().cdf(z)))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _tokens(several: Sequence[dict[str, float]]) -> tuple[float, float, float] | None:
    if not several:
        return None
    means, lows, highs = ([float(t[key]) for t in several] for key in ("mean", "min", "max"))
    return statistics.fmean(means), min(lows), max(highs)
