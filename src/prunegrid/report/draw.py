"""A picture with what survives of it: dropped patches fade, kept ones are outlined, mixed ones point to their token."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from prunegrid.stats.kept import Kept

_FADE = 0.82  # how much of a dropped patch is washed out
_MIXED = 0.45  # of one that is only there as a part of a mixture
_EDGE = (0, 114, 178)
_LINE = (20, 20, 20)
_CROWD = 0.25  # a token that holds more than this share of all patches gets dots alone: lines would hide the picture

Pixels = npt.NDArray[np.uint8]


def shade(picture: Image.Image, what: Kept, side: int, patch: int = 24) -> Pixels:
    """[side * patch, side * patch, 3]: the picture, dropped patches faded, what was mixed half faded and tied to its token.

    The picture is cut to its central square first, as CLIP's processor does. Where no token is a patch any
    more nothing is faded: nothing can be said to be dropped. Where a cache was evicted a patch fades by the share of
    layers and heads that dropped it.
    """
    pixels = np.asarray(_square(picture).resize((side * patch, side * patch), Image.Resampling.LANCZOS))
    count = side * side
    survive, represented = what.survive(count), what.represented(count)
    if survive is None and represented is None:
        return pixels.astype(np.uint8)
    stays = np.zeros(count) if survive is None else survive
    wash = _FADE * (1 - stays)
    if represented is not None:
        wash = np.minimum(wash, np.where(represented > 0, _MIXED, _FADE))
        wash[stays > 0] = 0
    mask = np.kron(wash.reshape(side, side), np.ones((patch, patch)))[..., None]
    grey = pixels.mean(axis=-1, keepdims=True)
    level = mask / _FADE  # of a fully faded patch no colour is left
    faded = (1 - mask) * (level * grey + (1 - level) * pixels) + mask * 235
    shaded = Image.fromarray(faded.round().astype(np.uint8))
    if 0 < (stays > 0).sum() < count:
        _outline(shaded, (stays > 0.5).reshape(side, side), patch)
    if what.members:
        _ties(shaded, what, side, patch)
    return np.asarray(shaded)


def coarse(picture: Image.Image, side: int, cells: int, patch: int = 24) -> Pixels:
    """The picture as a tower sees it that is given `cells` x `cells` patches of a smaller copy; the grid is drawn."""
    edge = side * patch
    small = _square(picture).resize((cells * 8, cells * 8), Image.Resampling.LANCZOS)  # 8 pixels per patch
    drawn = small.resize((edge, edge), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(drawn)
    for k in range(1, cells):
        at = k * edge / cells
        pen.line([at, 0, at, edge], fill=_EDGE)
        pen.line([0, at, edge, at], fill=_EDGE)
    return np.asarray(drawn)


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


def _ties(picture: Image.Image, what: Kept, side: int, patch: int) -> None:
    """From every patch that lives on only in other tokens a line to such a token's patch, or to the ring amid those that
    make up a token of no patch; dots alone where one token holds a crowd. Survivors that went into others too are not
    tied: PruMerge's centres are one another's neighbours."""
    draw = ImageDraw.Draw(picture)
    alive = what.patches or frozenset()

    def centre(i: int) -> tuple[float, float]:
        return (i % side + 0.5) * patch, (i // side + 0.5) * patch

    for own, members in what.members:
        others = [centre(i) for i in sorted(members - alive) if i < side * side]
        crowd = len(others) > _CROWD * side * side
        if own < 0 and others and not crowd:
            x, y = (sum(values) / len(others) for values in zip(*others, strict=True))
            draw.ellipse(_around(x, y, patch / 4), outline=_LINE, width=max(2, patch // 12))
        else:
            x, y = centre(max(own, 0))
        for place in others:
            if not crowd:
                for fill, width in (((255, 255, 255), 3), (_LINE, 1)):  # legible on dark and on pale ground
                    draw.line([*place, x, y], fill=fill, width=width)
            draw.ellipse(_around(*place, patch / 10), fill=_LINE, outline=(255, 255, 255))


def _around(x: float, y: float, r: float) -> list[float]:
    return [x - r, y - r, x + r, y + r]
