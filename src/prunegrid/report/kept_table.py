"""What the kept tokens are, as tables: where they lie on the objects, how their numbers are spread, whether they follow
clutter. There wherever the cells' kept.json say something of the kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prunegrid.report import words
from prunegrid.report.cell import Cell, Estimate, estimate
from prunegrid.report.sheet import Sheet
from prunegrid.report.summary import Field, Summary, join_seeds

MASKS = (
    "Precision: of the surviving patches, the share on drawn things or digits. Recall: of their patches, the share that "
    "survives. Gain: precision over that of a blind choice, which is the objects' share of the picture ({base}). A mixed "
    "token counts as the patch that it stands for; “with mixed”: all patches that are in some token count. Means over "
    "questions ± half of their 95 % interval (clusters resampled). Methods whose tokens are tied to no patch are left out."
)
COUNTS = (
    "Visual tokens that enter the language model, of methods that keep more on one picture than on another. Variation: "
    "standard deviation over mean. Below floor: share of questions with fewer than 16 of 576 tokens, scaled to the "
    "model's grid. Clutter: Spearman's rank correlation of tokens and drawn things. In brackets 95 % intervals."
)
_MASK_COLUMNS: tuple[tuple[str, str], ...] = (
    ("precision", "objects/precision"),
    ("recall", "objects/recall"),
    ("recall of digits", "objects/text_recall"),
    ("precision with mixed", "represented/precision"),
    ("recall with mixed", "represented/recall"),
)
_NAMES = (
    *(f"objects/{name}" for name in ("precision", "recall", "base", "text_recall")),
    *(f"represented/{name}" for name in ("precision", "recall", "base", "text_recall")),
    *(f"tokens/{name}" for name in ("mean", "variation", "under")),
    "clutter/spearman",
)


def of_cell(cell: Cell) -> dict[str, Estimate]:
    """The numbers of kept.json by part and name, with their intervals: "objects/precision", "tokens/mean", ..."""
    found = {}
    for name in _NAMES:
        part, _, key = name.partition("/")
        entry = (cell.kept.get(part) or {}).get(key)
        if isinstance(entry, Mapping) and (x := estimate({**entry, "interval": _ends(entry)}, "value")):
            found[name] = x
    return found


def _ends(entry: Mapping[str, float | None]) -> tuple[float | None, float | None]:
    return entry.get("low"), entry.get("high")


def of_field(field: Field) -> dict[str, Estimate]:
    """Of its finished seeds, joined; a number that one of them lacks is left out."""
    each = [of_cell(cell) for cell in field.cells if cell.state == "done"]
    shared = [name for name in _NAMES if each and all(name in found for found in each)]
    return {name: x for name in shared if (x := join_seeds(found[name] for found in each))}


def sheets(summary: Summary) -> list[Sheet]:
    """One table per benchmark with masks, and one of the adaptive methods' counts."""
    made = [_masks(summary, column) for column in summary.columns]
    return [sheet for sheet in (*made, _counts(summary)) if sheet]


def _masks(summary: Summary, column: str) -> Sheet | None:
    known = [(f.row, x) for f in summary.of_column(column) if "objects/precision" in (x := of_field(f))]
    if not known:
        return None
    columns = [(head, name) for head, name in _MASK_COLUMNS if any(name in x for _, x in known)]
    rows = [[row, *(_percent(x.get(name)) for _, name in columns), _gain(x)] for row, x in known]
    base = ", ".join(dict.fromkeys(_percent(x["objects/base"]) + " %" for _, x in known))
    head = ["method", *(f"{head}, %" for head, _ in columns), "gain"]
    return Sheet(f"Kept patches on the objects: {column}", head, rows, MASKS.format(base=base))


def _percent(x: Estimate | None) -> str:
    if x is None:
        return words.NOTHING
    return f"{100 * x.value:.1f}" + ("" if x.half is None else f" ±{100 * x.half:.1f}")


def _gain(x: Mapping[str, Estimate]) -> str:
    base = x["objects/base"].value
    return f"{x['objects/precision'].value / base:.2f}" if base else words.NOTHING


def adaptive(summary: Summary) -> list[Field]:
    """Fields whose samples do not all keep the same number."""
    return [f for f in summary.fields.values() if any(_varies(c) for c in f.cells if c.state == "done")]


def _varies(cell: Cell) -> bool:
    tokens = cell.kept.get("tokens") or {}
    return bool(tokens) and tokens["min"] < tokens["max"]


def _counts(summary: Summary) -> Sheet | None:
    fields = [field for field in adaptive(summary) if of_field(field)]
    if not fields:
        return None
    rows = []
    for field in fields:
        x, tokens = of_field(field), [c.kept["tokens"] for c in field.cells if c.state == "done"]
        span = f"{min(t['min'] for t in tokens)}–{max(t['max'] for t in tokens)}"
        under = f"{_bounds(x.get('tokens/under'), 100, 1)} % (< {tokens[0]['floor']})"
        rows.append([
            field.row, field.column, _bounds(x.get("tokens/mean"), 1, 1), span, _bounds(x.get("tokens/variation"), 1, 2),
            under, _bounds(x.get("clutter/spearman"), 1, 2),
        ])  # fmt: skip
    head = ["method", "benchmark", "tokens, mean", "range", "variation", "below floor", "clutter"]
    return Sheet("How the numbers of tokens are spread", head, rows, COUNTS)


def _bounds(x: Estimate | None, factor: float, digits: int) -> str:
    if x is None:
        return words.NOTHING
    ends = (x.low, x.high)
    around = "" if None in ends else " [" + ", ".join(f"{factor * (e or 0):.{digits}f}" for e in ends) + "]"
    return f"{factor * x.value:.{digits}f}{around}"


def lines(summary: Summary) -> list[Sequence[object]]:
    """Every number unrounded, the head first: a line per field; empty if no field has any."""
    ends = [f"{name.replace('/', '_')}{end}" for name in _NAMES for end in ("", "_low", "_high")]
    found: list[Sequence[object]] = []
    for field in summary.fields.values():
        if x := of_field(field):
            each = [x.get(name) for name in _NAMES]
            found.append([field.row, field.column, *(v for e in each for v in _three(e))])
    return [["row", "column", *ends], *found] if found else []


def _three(x: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if x is None else (x.value, x.low, x.high)
