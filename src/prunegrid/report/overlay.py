"""Kept tokens drawn on the picture, with what was asked and said: one panel per method, side by side."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from prunegrid.report import question
from prunegrid.report.cell import Cell
from prunegrid.report.draw import Pixels, coarse, shade
from prunegrid.report.style import look, plt
from prunegrid.stats.kept import Kept, kept

_ACROSS = 5


@dataclass(frozen=True)
class Panel:
    """One picture of a figure: title above, lines below."""

    pixels: Pixels
    title: str
    below: str = ""


def panel(cell: Cell, sample: str, title: str) -> Panel | None:
    """`cell`'s kept tokens on the picture of `sample`; None if the sample or its picture is not there."""
    trace = next((row for row in cell.traces() if row["id"] == sample), None)
    record = next((row for row in cell.records() if row["id"] == sample), None)
    file = picture_file(cell, record) if record else None
    if trace is None or record is None or file is None:
        return None
    side, what = grid_side(cell), kept(trace, grid_side(cell))
    cells = _cells(trace, what, side)
    with Image.open(file) as picture:
        pixels = coarse(picture, side, cells) if cells else shade(picture, what, side)
    lines = [f"{cells} x {cells} patches of a smaller picture" if cells else caption(what, side)]
    if (words := trace.get("words")) is not None:
        asked = question_of(cell, sample) or " ".join(words)
        pixels = np.concatenate([pixels, question.strip(asked, words, pixels.shape[1])])
        share = (trace.get("notes") or {}).get("text_share")
        lines += [] if share is None else [f"key words: {100 * share:.0f} % of the text"]
    said = textwrap.shorten(str(record.get("text", "")).strip(), 60, placeholder=" …") or "(nothing)"
    return Panel(pixels, title, "\n".join([*lines, f"“{textwrap.fill(said, 30)}”"]))


def caption(what: Kept, side: int) -> str:
    """How many tokens there are, and what they are."""
    if what.cached:
        return f"{sum(what.cached) / 100:.1f} patches in the mean cache"
    if what.patches is None:
        return f"{what.merged} merged tokens"
    extra = f" + {what.merged} merged" if what.merged else ""
    represented = what.represented(side * side)
    inside = "" if represented is None else f", of {int(represented.sum())}"
    return f"{len(what.patches)} patches{extra}{inside}"


def _cells(trace: Mapping[str, Any], what: Kept, side: int) -> int:
    """Patches per side where the tower itself saw fewer from its first layer on; 0 where it saw all."""
    entering = (trace.get("vision") or [0])[0]
    seen = math.isqrt(what.merged)
    smaller = what.patches is None and not what.place and 0 < entering < side * side
    return seen if smaller and seen * seen == what.merged else 0


def question_of(cell: Cell, sample: str) -> str:
    """What was asked, from the task's own file; "" where that is not there."""
    task = cell.config.get("task") or {}
    file = _data_file(cell, str(task.get("file") or "")) if task.get("file") else None
    if file is None:
        return ""
    with file.open(encoding="utf-8") as lines:
        rows = (json.loads(line) for line in lines)
        return next((str(row.get("question", "")) for row in rows if str(row.get("id")) == sample), "")


def grid_side(cell: Cell) -> int:
    """Patches per side of the cell's model."""
    return int((cell.config.get("model") or {}).get("side") or 24)


def picture_file(cell: Cell, record: Mapping[str, Any]) -> Path | None:
    """The picture of a record: in the task's data folder, below here or beside the results folder."""
    name = (record.get("meta") or {}).get("image")
    return _data_file(cell, str(name)) if name else None


def _data_file(cell: Cell, name: str) -> Path | None:
    data = (cell.config.get("task") or {}).get("data")
    if not data:
        return None
    tries = [Path(data) / name, cell.root.resolve().parent / data / name]
    return next((file for file in tries if file.is_file()), None)


def samples_with_pictures(cell: Cell, count: int) -> list[str]:
    """`count` sample ids spread evenly over the records, each with a picture of its own."""
    first_of: dict[str, str] = {}
    for record in cell.records():
        name = (record.get("meta") or {}).get("image")
        if name:
            first_of.setdefault(str(name), str(record["id"]))
    ids = list(first_of.values())
    return [ids[(2 * k + 1) * len(ids) // (2 * count)] for k in range(min(count, len(ids)))]


def gallery(panels: Sequence[Panel], title: str = "") -> Figure:
    """The panels side by side, five across."""
    across = max(1, min(_ACROSS, len(panels)))
    down = max(1, math.ceil(len(panels) / across))
    with look():
        figure, axes = plt.subplots(
            down, across, figsize=(2.45 * across, 3.4 * down), squeeze=False, layout="constrained"
        )
        for axis in axes.flat:
            axis.set_axis_off()
            axis.set_anchor("N")  # a panel with a question below is higher
        for axis, each in zip(axes.flat, panels, strict=False):
            axis.imshow(each.pixels)
            axis.set_title(textwrap.fill(each.title, 30), fontsize=9)
            axis.text(0.5, -0.03, each.below, transform=axis.transAxes, ha="center", va="top", fontsize=8.5)
        if title:
            figure.suptitle(title, fontsize=11)
    return figure
