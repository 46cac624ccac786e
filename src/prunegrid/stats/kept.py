"""Where the tokens of one sample's trace lie on the picture: surviving patches, and the patches mixed into them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from prunegrid.stats.arrays import Array

# the order in which a token passes the places; layers sort within their place
_ORDER = ("image", "vision", "features", "projector", "embeds", "prompt", "cache")


@dataclass(frozen=True)
class Kept:
    """What survives in one sample. `patches`: ids of the tokens that are, or stand for, one patch; None where no token
    does. `merged`: tokens that stand for no single one. `place`: the last one that reduced, "" where none did.

    `members`: where tokens are mixed, per token its patch (-1: none) and the patches in it. `cached`: where a cache is
    evicted, per patch the percentage of layers and heads that hold it when the answer begins.
    """

    patches: frozenset[int] | None
    merged: int
    place: str
    members: tuple[tuple[int, frozenset[int]], ...] = ()
    cached: tuple[int, ...] = ()

    def survive(self, count: int) -> Array | None:
        """[count] how much of each patch survives, 0..1, mixed tokens as the patch that stands for them; None where no
        token is a patch."""
        if self.patches is None:
            return None
        if self.cached:
            return np.asarray(self.cached, np.float64) / 100
        return _indicator(self.patches, count)

    def represented(self, count: int) -> Array | None:
        """[count] 1 for patches that are in some token, their own or a mixed one; None where nothing is mixed."""
        if not self.members:
            return None
        return _indicator(frozenset[int]().union(*(patches for _, patches in self.members)), count)


def _indicator(patches: frozenset[int], count: int) -> Array:
    found = np.zeros(count)
    found[[i for i in patches if i < count]] = 1
    return found


def kept(trace: Mapping[str, Any], side: int) -> Kept:
    """Read a trace row: the places' patch ids, -1 for a merged token; `side` patches per side."""
    cached = tuple(trace.get("cached") or ())
    places = sorted(trace.get("kept") or {}, key=_stage)
    places = [place for place in places if trace["kept"][place]]
    if places:
        ids = trace["kept"][places[-1]]
        patches, merged = frozenset(i for i in ids if i >= 0), sum(i < 0 for i in ids)
        mixed = trace.get("members") or ()
        members = tuple((i, frozenset(m)) for i, m in zip(ids, mixed, strict=bool(mixed)))
        return Kept(patches if patches or not merged else None, merged, places[-1], members, cached)
    count = trace["visual"][0] if trace.get("visual") else side * side
    if count in (0, side * side):
        return Kept(frozenset(range(count)), 0, "cache" if cached else "", cached=cached)
    return Kept(None, count, "")  # tokens that the trace does not tie to patches


def _stage(place: str) -> tuple[int, int]:
    name, layer = re.fullmatch(r"([a-z]*)(\d*)", place.replace(".", "")).groups()  # type: ignore[union-attr]
    return (_ORDER.index(name) if name in _ORDER else -1, int(layer or 0))
