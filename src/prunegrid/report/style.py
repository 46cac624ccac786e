"""One look for all figures: a palette that colour-blind readers can tell apart, and markers for greyscale."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # before pyplot: no display is needed
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

# Okabe and Ito's palette without its yellow, which is lost on white
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C564B")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
_FIXED = {"none": "#000000", "blind": "#777777", "random": "#999999"}  # references, not methods
_LOOK: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "prunegrid",  # equal figures give equal files
}


@dataclass(frozen=True)
class Mark:
    colour: str
    marker: str


def marks(rows: Iterable[tuple[str, str]]) -> dict[str, Mark]:
    """A mark for each (row, reducer): colour by reducer, marker by row."""
    found: dict[str, Mark] = {}
    colours = dict(_FIXED)
    fresh = itertools.cycle(_COLOURS)
    for (row, reducer), marker in zip(dict.fromkeys(rows), itertools.cycle(_MARKERS)):
        if reducer not in colours:
            colours[reducer] = next(fresh)
        found[row] = Mark(colours[reducer], marker)
    return found


@contextmanager
def look() -> Iterator[None]:
    """Draw inside this to get the project's look; leaves matplotlib's own settings as they were."""
    with matplotlib.rc_context(_LOOK):  # type: ignore[arg-type]
        yield


def save(figure: Figure, stem: Path, *, vector: bool = True) -> list[Path]:
    """Write `stem`.png (and .svg) and free the figure."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    files = [stem.with_name(f"{stem.name}.png")]
    figure.savefig(files[0], dpi=130, bbox_inches="tight", facecolor="white", metadata={"Software": None})
    if vector:
        files.append(stem.with_name(f"{stem.name}.svg"))
        with look():
            figure.savefig(files[1], bbox_inches="tight", facecolor="white", metadata={"Date": None})
    plt.close(figure)
    return files
