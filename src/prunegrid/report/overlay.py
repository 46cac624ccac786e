"""Kept tokens drawn on the picture: dropped patches fade, kept ones stay, merged tokens are counted."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from prunegrid.report.cell import Cell
from prunegrid.report.style import look, plt

# the order in which a token passes the places; layers sort within their place
_ORDER = ("image", "vision", "features", "projector", "embeds", "prompt", "cache")
_FADE = 0.82  # how much of a dropped patch is washed out
_EDGE = (0, 114, 178)
_ACROSS = 5

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Kept:
    """What survives in one sample. `patches` is None where no token is a patch any more.

    `place` is the last place that reduced, "" where none did.
    """

    patches: frozenset[int] | None
    merged: int
    place: str

    @property
    def caption(self) -> str:
        if self.patches is None:
            return f"{self.merged} merged tokens"
        extra = f" + {self.merged} merged" if self.merged else ""
        return f"{len(self.patches)} patches{extra}"


def kept(trace: Mapping[str, Any], side: int) -> Kept:
    """Read a trace row: the places' patch ids, -1 for a merged token; `side` patches per side."""
    places = sorted(trace.get("kept") or {}, key=_stage)
    places = [place for place in places if trace["kept"][place]]
    if places:
        ids = trace["kept"][places[-1]]
        patches, merged = frozenset(i for i in ids if i >= 0), sum(i < 0 for i in ids)
        return Kept(patches if patches or not merged else None, merged, places[-1])
    count = trace["visual"][0] if trace.get("visual") else side * side
    if count in (0, side * side):
        return Kept(frozenset(range(count)), 0, "")
    return Kept(None, count, "")  # tokens that the trace does not tie to patches


def _stage(place: str) -> tuple[int, int]:
    name, layer = re.fullmatch(r"([a-z]*)(\d*)", place.replace(".", "")).groups()  # type: ignore[union-attr]
    return (_ORDER.index(name) if name in _ORDER else -1, int(layer or 0))


def shade(picture: Image.Image, what: Kept, side: int, patch: int = 24) -> Pixels:
    """[side * patch, side * patch, 3]: the picture with dropped patches faded.

    The picture is cut to its central square first, as CLIP's processor does. Where no token is a patch any
    more nothing is faded: nothing can be said to be dropped.
    """
    pixels = np.asarray(_square(picture).resize((side * patch, side * patch), Image.Resampling.LANCZOS))
    if what.patches is None:
        return pixels.astype(np.uint8)
    stays = np.zeros(side * side, bool)
    stays[[i for i in what.patches if i < side * side]] = True
    mask = np.kron(stays.reshape(side, side), np.ones((patch, patch), bool))[..., None]
    grey = pixels.mean(axis=-1, keepdims=True)
    faded = (1 - _FADE) * grey + _FADE * 235
    shaded = Image.fromarray(np.where(mask, pixels, faded).astype(np.uint8))
    if 0 < len(what.patches) < side * side:
        _outline(shaded, stays.reshape(side, side), patch)
    return np.asarray(shaded)


def _square(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGB")
    edge = min(picture.size)
    left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
    return picture.crop((left, top, left + edge, top + edge))


def _outline(picture: Image.Image, stays: npt.NDArray[np.bool_], patch: int) -> None:
    """A line wherever a kept patch meets a dropped one: pale patches stay visible on a pale picture."""
    draw = ImageDraw.Draw(picture)
    framed = np.pad(stays, 1)
    for y, x in np.argwhere(stays):
        left, top, right, bottom = x * patch, y * patch, (x + 1) * patch - 1, (y + 1) * patch - 1
        sides = {
            (0, 1): (left, top, right, top),
            (2, 1): (left, bottom, right, bottom),
            (1, 0): (left, top, left, bottom),
            (1, 2): (right, top, right, bottom),
        }
        for (dy, dx), line in sides.items():
            if not framed[y + dy, x + dx]:
                draw.line([float(v) for v in line], fill=_EDGE, width=2)


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
    with Image.open(file) as picture:
        pixels = shade(picture, what, side)
    said = textwrap.shorten(str(record.get("text", "")).strip(), 60, placeholder=" …") or "(nothing)"
    return Panel(pixels, title, f"{what.caption}\n“{textwrap.fill(said, 30)}”")


def grid_side(cell: Cell) -> int:
    """Patches per side of the cell's model."""
    return int((cell.config.get("model") or {}).get("side") or 24)


def picture_file(cell: Cell, record: Mapping[str, Any]) -> Path | None:
    """The picture of a record: in the task's data folder, below here or beside the results folder."""
    name = (record.get("meta") or {}).get("image")
    data = (cell.config.get("task") or {}).get("data")
    if not name or not data:
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
            down, across, figsize=(2.45 * across, 3.25 * down), squeeze=False, layout="constrained"
        )
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, each in zip(axes.flat, panels, strict=False):
            axis.imshow(each.pixels)
            axis.set_title(textwrap.fill(each.title, 30), fontsize=9)
            axis.text(0.5, -0.03, each.below, transform=axis.transAxes, ha="center", va="top", fontsize=8.5)
        if title:
            figure.suptitle(title, fontsize=11)
    return figure
