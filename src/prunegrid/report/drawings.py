"""The figures that a study has only if its cells call for them, drawn one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from prunegrid.report.attention import CAPTION, attention
from prunegrid.report.budget import budget
from prunegrid.report.curves import curves, parameters
from prunegrid.report.sensitivity import sensitivity
from prunegrid.report.summary import Summary

_BANDS = "Bands are 95 % intervals; dashed: all tokens, dotted: the blind model."


@dataclass(frozen=True)
class Drawing:
    """A figure with the name of its files, without an ending, and what is said of it on the page."""

    stem: str
    heading: str
    caption: str
    figure: Figure


def drawings(summary: Summary) -> Iterator[Drawing]:
    """Attention over patches, score over budget, and over each setting that some rows differ in alone.

    Save each before the next is drawn."""
    if drawn := attention(summary):
        yield Drawing("attention", "Where the class token looks", CAPTION, drawn)
    found = curves(summary)
    if drawn := budget(summary, found):
        yield Drawing("budget", "Score over the budget", _BANDS, drawn)
    for name in parameters(found):
        stem = f"over_{re.sub(r'[^a-z0-9]+', '_', name.lower())}"
        caption = f"Rows that differ in {name} alone. {_BANDS} Below, where {name} moves them: tokens that are kept."
        yield Drawing(stem, f"Score over {name}", caption, sensitivity(summary, found, name))
