"""A small copy of a picture, for pages that show many."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def thumbnail(picture: Path, out: Path, edge: int = 1024) -> Path:
    """Write `picture` into `out` (the ending names the format), at most `edge` pixels wide and high."""
    with Image.open(picture) as image:
        small = image.convert("RGB")
        small.thumbnail((edge, edge))
        small.save(out)
    return out
