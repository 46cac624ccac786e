"""Measured speed beside what the counts allow: a row per method, batch size and answer length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from prunegrid.cost.devices import unnamed
from prunegrid.report.cell import Cell
from prunegrid.report.summary import Field, Summary, uncounted
from prunegrid.report.words import UNCOUNTED

NOTE = (
    "Medians of whole calls, preprocessing included; attention is SDPA for every method, the kernels that it took stand in "
    "latency.json. Speed-up: the time of full tokens over the method's. FLOPs and roofline: the speed-up that the counted "
    "operations, or operations and bytes at this machine's peak rates, would allow, the method's own arithmetic included "
    "(+: without it, as it was not counted). A measured speed-up below 1 is a slow-down and says so."
)
HEAD = ("method", "batch", "new", "calls", "tokens", "total ms", "p10–p90", "first ms", "step ms", "reducer ms", "peak GiB",
        "score", "speed-up", "FLOPs", "roofline")  # fmt: skip
POINT = ("batch_size", "new_tokens")


@dataclass(frozen=True)
class Speed:
    """One measured point of a cell beside the same point of its full-token twin (`base` None: not measured)."""

    row: str
    conditions: tuple[Any, ...]  # machine, dtype, threads: what differs in them is not compared
    day: str  # on which it was measured; "" where that was not said
    field: Field
    point: Mapping[str, Any]
    base: Mapping[str, Any] | None

    @property
    def machine(self) -> str:
        return str(self.conditions[0])

    @property
    def seconds(self) -> float:
        """Of one whole call, the median."""
        return _total(self.point)

    @property
    def measured(self) -> float | None:
        """How many times faster a whole call is than with full tokens."""
        return None if self.base is None else _total(self.base) / _total(self.point)

    def allowed(self, by: str) -> float | None:
        """The speed-up that `flops` or `roofline` alone would give; None where it is not known."""
        if self.base is None or not self.base.get(by) or not self.point.get(by):
            return None
        full, own = (sum(value or 0 for value in point[by].values()) for point in (self.base, self.point))
        return float(full / own)

    @property
    def uncounted(self) -> bool:
        """Whether what would be allowed leaves out the method's own arithmetic."""
        return uncounted(self.point.get("flops"))


def speeds(summary: Summary) -> list[Speed]:
    """Every measured point of the study, in the table's order. Machines are never mixed: a twin that was measured on
    another one is no twin."""
    known = {cell.id: cell for cell in summary.study.everything}
    found = []
    for field in summary.fields.values():
        for cell in field.cells:
            twin = known.get(str(cell.planned.get("baseline")))
            for point in cell.latency.get("points") or []:
                day, base = str(cell.latency.get("taken", ""))[:10], _same(cell, twin, point)
                found.append(Speed(field.row, _conditions(cell), day, field, point, base))
    return found


def comparable(found: Sequence[Speed]) -> list[Speed]:
    """What may stand on one axis: the same batch size and answer length under the same conditions. Of several such sets
    the largest; of equals that of the smallest batch and the longest answer. Empty where nothing was measured."""
    sets: dict[tuple[Any, ...], list[Speed]] = {}
    for each in found:
        sets.setdefault((each.conditions, *map(each.point.get, POINT)), []).append(each)
    return max(
        sets.values(),
        key=lambda s: (len(s), -s[0].point["batch_size"], s[0].point["new_tokens"]),
        default=[],
    )


def _same(cell: Cell, twin: Cell | None, point: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if twin is None or _conditions(twin) != _conditions(cell):
        return None
    same = (p for p in twin.latency.get("points") or [] if all(p[k] == point[k] for k in POINT))
    return next(same, None)


def _conditions(cell: Cell) -> tuple[Any, ...]:
    found = cell.latency
    machine = found.get("machine") or {}
    return (machine.get("name", ""), found.get("dtype"), machine.get("threads"))


def _total(point: Mapping[str, Any]) -> float:
    return float(point["seconds"]["total"]["median"])


def table(found: Sequence[Speed]) -> list[list[str]]:
    """HEAD, then one row of texts per point."""
    return [list(HEAD), *(_row(speed) for speed in found)]


def _row(speed: Speed) -> list[str]:
    point, seconds = speed.point, speed.point["seconds"]
    memory = seconds.get("memory") or {}
    score = speed.field.score
    return [
        speed.row,
        str(point["batch_size"]),
        str(point["new_tokens"]),
        str(point.get("repeats", "–")),
        f"{point['visual_tokens']:.1f}",
        _ms(seconds["total"]["median"]),
        f"{_ms(seconds['total']['p10'])}–{_ms(seconds['total']['p90'])}",
        _ms(seconds["first"]["median"]),
        _ms(seconds["step"]["median"]) if seconds.get("step") else "–",
        _ms(seconds["reducer"]["median"]),
        f"{max(memory.values()) / 2**30:.1f}" if memory else "–",
        f"{score.value:.{speed.field.digits}f}" if score else "–",
        _times(speed.measured, slow=True),
        *(_times(speed.allowed(by), more=speed.uncounted) for by in ("flops", "roofline")),
    ]


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g}" if seconds < 0.1 else f"{1000 * seconds:.0f}"


def _times(value: float | None, slow: bool = False, more: bool = False) -> str:
    if value is None:
        return "–"
    text = f"{value:.2f}x" + (UNCOUNTED if more else "")
    return text + (" slow-down" if slow and value < 0.995 else "")


def section(summary: Summary) -> str:
    """HTML of the page's part on speed; empty where nothing was measured."""
    found = speeds(summary)
    if not found:
        return ""
    machines = dict.fromkeys(s.machine for s in found)
    days = sorted({s.day for s in found if s.day})
    when = f", {' to '.join(dict.fromkeys((days[0], days[-1])))}" if days else ""
    bounded = {s.machine for s in found if s.point.get("roofline")}
    rows = table(found)
    head = "".join(f"<th>{escape(text)}</th>" for text in rows[0])
    body = "\n".join(
        f"<tr><th>{escape(row[0])}</th>{''.join(f'<td>{escape(text)}</td>' for text in row[1:])}</tr>"
        for row in rows[1:]
    )
    return (
        f'<h2>Measured speed</h2><p class="soft">On {escape(", ".join(machines))}{when}. {escape(NOTE)}</p>\n'
        + "".join(
            f'<p class="soft">{escape(unnamed(name))}</p>\n' for name in machines if name not in bounded
        )
        + f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    )
