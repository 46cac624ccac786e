"""One look for all figures: a palette that colour-blind readers can tell apart, and markers for greyscale."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib

matplotlib.use("Agg")  # before pyplot: no display is needed
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

# A method has its colour in every figure of every study. The families of the papers: Okabe and Ito's palette.
_OF_METHOD = MappingProxyType(
    {
        "none": "#000000", "blind": "#777777", "random": "#999999", "sequential": "#5B5B5B",
        "prumerge": "#0072B2", "prumerge_plus": "#56B4E9",
        "ivtp": "#D55E00", "progressive": "#E69F00", "tome": "#7A5195", "tome_plus": "#A98BC9",
        "vtip": "#009E73", "h2o": "#66A61E", "topk_cls": "#CC79A7", "topk_plus": "#A6559A", "received": "#882255",
        "attention_tail": "#117A65",
        "evit": "#8C564B", "ats": "#B5651D", "crossget": "#5D4037", "crossget_tokens": "#8D6E63",
        "fastv": "#332288", "sparsevlm": "#117733", "pyramiddrop": "#44AA99",
        "visionzip": "#AA4499", "vispruner": "#999933", "divprune": "#CC6677", "cdpruner": "#661100",
        "spatial": "#9C7A3C", "spatial_pool": "#C49C54", "downsample": "#4C6A92",
        "c_abstractor": "#1B9E77", "llama_vid": "#7570B3", "qwen_resampler": "#E7298A",
    }
)  # fmt: skip
_OTHERS = ("#A6761D", "#3B7EA1", "#B2182B", "#4D9221", "#762A83", "#BF812D", "#35978F", "#C51B7D")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
_LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 3)))
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
    """How a row or a line is drawn. Without colours, marker, filling and line tell them apart."""

    colour: str
    marker: str
    line: Any = "-"
    hollow: bool = False

    @property
    def face(self) -> str:
        """What fills the marker."""
        return "white" if self.hollow else self.colour

    @property
    def edge(self) -> str:
        """What surrounds it."""
        return self.colour if self.hollow else "white"


def colour_of(reducer: str) -> str:
    """A method's colour: the same in every figure. One that was added later gets its own by its name."""
    return _OF_METHOD.get(reducer) or _OTHERS[zlib.crc32(reducer.encode()) % len(_OTHERS)]


def marks(rows: Iterable[tuple[str, str]]) -> dict[str, Mark]:
    """A mark for each (row, reducer): colour by reducer; marker, filling and line by row."""
    found: dict[str, Mark] = {}
    for i, (row, reducer) in enumerate(dict.fromkeys(rows)):
        hollow = i // len(_MARKERS) % 2 == 1
        found[row] = Mark(colour_of(reducer), _MARKERS[i % len(_MARKERS)], _LINES[i % len(_LINES)], hollow)
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
