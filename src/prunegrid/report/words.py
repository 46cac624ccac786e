"""How numbers and states are written, the same in every table and figure."""

from __future__ import annotations

from collections.abc import Sequence

from prunegrid.report.cell import Estimate
from prunegrid.report.summary import Field

NOTHING = "–"
COSTS = ("tokens", "FLOPs", "KV")
UNCOUNTED = "+"  # behind FLOPs that leave the reducer's own out

LEGEND = (
    "Score ± half of its 95 % interval (clustered bootstrap). Difference: score minus the full-token run on "
    "the same questions (paired bootstrap); * = significant at 5 % after Holm's correction over the "
    "benchmarks of its row. Tokens: measured mean of visual tokens that enter the language model. FLOPs: per "
    "sample, in percent of full tokens, with the method's own arithmetic; + = without it: it was not counted. "
    "Fields with several seeds show their mean; its interval has the seeds' variance in it."
)
KV = "KV: the cache when an answer ends, in percent of full tokens."
MINI = (
    "mini: real measurements of the small model that this project trains itself. They are not comparable "
    "with any published number."
)


def state(field: Field) -> str | None:
    """What stands in a field without a score; never a number."""
    return field.state if field.state in ("failed", "missing") else None


def seeds(field: Field) -> str:
    """`5 seeds`, `2 of 5 seeds`, or nothing for a single one."""
    planned = len(field.cells)
    if field.state == "partial":
        return f"{field.seeds} of {planned} seeds"
    return f"{planned} seeds" if planned > 1 else ""


def score(field: Field, sign: str = " ±") -> str:
    """`81.2 ±2.1`, or the field's state."""
    if field.score is None:
        return state(field) or NOTHING
    half = field.score.half
    around = "" if half is None else f"{sign}{half:.{field.digits}f}"
    return f"{field.score.value:.{field.digits}f}{around}"


def star(field: Field) -> str:
    return "*" if field.significant else ""


def delta(field: Field) -> str:
    """`-3.2*`, or nothing for the baseline itself."""
    return "" if field.delta is None else signed(field.delta.value, field.digits) + star(field)


def delta_interval(field: Field) -> str:
    """`-3.2 [-5.0, -1.4]*`."""
    if field.delta is None:
        return state(field) or NOTHING
    return f"{signed(field.delta.value, field.digits)}{bounds(field.delta, field.digits)}{star(field)}"


def bounds(x: Estimate, digits: int) -> str:
    if x.low is None or x.high is None:
        return ""
    return f" [{signed(x.low, digits)}, {signed(x.high, digits)}]"


def retained(x: Estimate | None) -> str:
    """`96.1 [94.0, 98.3] %`."""
    if x is None:
        return NOTHING
    around = "" if x.low is None or x.high is None else f" [{x.low:.1f}, {x.high:.1f}]"
    return f"{x.value:.1f}{around} %"


def signed(value: float, digits: int) -> str:
    """With its sign; a value that rounds to zero has none."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def tokens(fields: Sequence[Field]) -> str:
    """Mean kept tokens of a row: `36.2`, or `31.0–38.4` where the benchmarks differ."""
    return _span([f.tokens[0] for f in fields if f.tokens])


def costs(fields: Sequence[Field]) -> tuple[str, str, str]:
    """What a row costs, under the heads COSTS."""
    return tokens(fields), relative_flops(fields), _percent([f.relative_kv for f in fields])


def relative_flops(fields: Sequence[Field]) -> str:
    """`12.3 %` of the full-token run, or the range over the benchmarks."""
    text = _percent([f.relative_flops for f in fields])
    return text + (UNCOUNTED if text != NOTHING and any(f.uncounted for f in fields) else "")


def _percent(shares: Sequence[float | None]) -> str:
    percent = [100 * share for share in shares if share is not None]
    text = _span(percent, digits=0 if min(percent, default=0) >= 10 else 1)
    return text if text == NOTHING else f"{text} %"


def flops(value: float | None) -> str:
    """`1.23 G`."""
    if value is None:
        return NOTHING
    for size, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g}"


def _span(values: Sequence[float], digits: int = 1) -> str:
    if not values:
        return NOTHING
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    if max(values) - min(values) > 0.5 and low != high:  # less is one budget on different pictures
        return f"{low}–{high}"
    return f"{sum(values) / len(values):.{digits}f}"
