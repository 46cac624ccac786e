"""Drawn scenes: coloured things and a written number on a plain or cluttered ground, with every thing's exact mask.

A scene is a value: `draw(scene)` is a pure function of it, and `sample(rng)` of the generator's state, so a seed names
a picture for ever. The picture is 96 x 96 px and falls into a 3 x 3 grid of cells; each thing lies inside one cell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 96  # px, square
CELLS = 3  # cells per side
CELL = SIZE // CELLS  # px
COLORS = {
    "red": (215, 40, 40),
    "green": (40, 175, 60),
    "blue": (50, 80, 230),
    "yellow": (235, 215, 50),
    "purple": (150, 55, 190),
    "orange": (240, 135, 30),
    "cyan": (50, 200, 215),
    "white": (240, 240, 240),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "diamond", "bar")
SIZES = ("small", "big")
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "center", "right")
# Some pairs are common, so that "popular" negatives differ from random ones; mild, so that guessing stays poor.
COLOR_WEIGHTS = np.array([1.5, 1.3, 1.2, 1.0, 0.9, 0.8, 0.7, 0.6]) / 8.0
SHAPE_WEIGHTS = np.array([1.4, 1.3, 1.2, 1.0, 0.9, 0.8, 0.7, 0.7]) / 8.0


@dataclass(frozen=True)
class Thing:
    """One drawn object; `x, y` its centre and `r` its half extent, px."""

    color: str
    shape: str
    size: str
    row: int
    column: int
    x: int
    y: int
    r: int

    @property
    def place(self) -> str:
        return f"{ROWS[self.row]} {COLUMNS[self.column]}"


@dataclass(frozen=True)
class Number:
    """A written number; `x, y` the top left corner of its text, px."""

    text: str
    row: int
    column: int
    x: int
    y: int

    @property
    def place(self) -> str:
        return f"{ROWS[self.row]} {COLUMNS[self.column]}"


@dataclass(frozen=True)
class Scene:
    """Things in reading order of their cells, an optional number, and a ground drawn from its own seed."""

    things: tuple[Thing, ...]
    number: Number | None
    cluttered: bool
    ground: int  # seed of the background


def sample(rng: np.random.Generator, most: int = 6, fewest: int = 2, number: float = 0.7) -> Scene:
    """A random scene of `fewest`..`most` things; a number is written with probability `number`."""
    count = int(rng.integers(fewest, most + 1))
    cells = rng.permutation(CELLS * CELLS)[: count + 1]
    things = [_thing(rng, int(cell)) for cell in cells[:count]]
    things.sort(key=lambda t: (t.row, t.column))
    written = _number(rng, int(cells[count])) if rng.random() < number else None
    return Scene(tuple(things), written, bool(rng.random() < 0.5), int(rng.integers(2**31)))


def _thing(rng: np.random.Generator, cell: int) -> Thing:
    row, column = divmod(cell, CELLS)
    size = SIZES[int(rng.integers(2))]
    r = int(rng.integers(7, 9)) if size == "small" else int(rng.integers(12, 14))
    slack = CELL // 2 - r
    x, y = (int(c * CELL + CELL // 2 + rng.integers(-slack, slack + 1)) for c in (column, row))
    color = str(rng.choice(list(COLORS), p=COLOR_WEIGHTS / COLOR_WEIGHTS.sum()))
    shape = str(rng.choice(SHAPES, p=SHAPE_WEIGHTS / SHAPE_WEIGHTS.sum()))
    return Thing(color, shape, size, row, column, x, y, r)


def _number(rng: np.random.Generator, cell: int) -> Number:
    row, column = divmod(cell, CELLS)
    text = f"{int(rng.integers(10))}{int(rng.integers(10))}"
    x = column * CELL + 6 + int(rng.integers(-4, 5))
    y = row * CELL + 6 + int(rng.integers(-4, 5))
    return Number(text, row, column, x, y)


def draw(scene: Scene) -> Image.Image:
    """The picture, RGB, SIZE x SIZE."""
    picture = _ground(scene)
    pen = ImageDraw.Draw(picture)
    for thing in scene.things:
        _shape(pen, thing, COLORS[thing.color])
    if scene.number:
        _write(pen, scene.number, (250, 250, 250))
    return picture


def thing_mask(thing: Thing) -> np.ndarray:
    """bool [SIZE, SIZE]: the pixels that the thing covers."""
    mask = Image.new("L", (SIZE, SIZE))
    _shape(ImageDraw.Draw(mask), thing, 255)
    return np.asarray(mask) > 127


def digit_masks(number: Number) -> list[np.ndarray]:
    """One bool [SIZE, SIZE] per digit: the pixels that its ink covers."""
    masks, font = [], _font()
    for k, digit in enumerate(number.text):
        mask = Image.new("L", (SIZE, SIZE))
        x = number.x + font.getlength(number.text[:k])
        ImageDraw.Draw(mask).text((x, number.y), digit, font=font, fill=255)
        masks.append(np.asarray(mask) > 100)
    return masks


def coverage(mask: np.ndarray, patch: int) -> np.ndarray:
    """Share of each patch that a pixel mask covers: bool [SIZE, SIZE] -> float [SIZE/patch, SIZE/patch]."""
    side = SIZE // patch
    return mask.reshape(side, patch, side, patch).mean(axis=(1, 3))


def _font() -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=17)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


def _ground(scene: Scene) -> Image.Image:
    rng = np.random.default_rng(scene.ground)
    base = rng.integers(0, 60, 3)
    slope = np.linspace(0, 1, SIZE)[:, None, None] * rng.integers(-20, 40, 3)
    grain = rng.integers(-4, 5, (SIZE, SIZE, 1)) if scene.cluttered else 0
    pixels = np.broadcast_to(np.clip(base + slope + grain, 0, 255), (SIZE, SIZE, 3)).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if scene.cluttered:
        _clutter(ImageDraw.Draw(picture), rng)
    return picture


def _clutter(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """Dim strokes and specks: they are nothing that a question asks for."""
    for _ in range(int(rng.integers(6, 15))):
        x, y = rng.integers(0, SIZE, 2)
        dx, dy = rng.integers(-14, 15, 2)
        shade = tuple(int(v) for v in rng.integers(60, 125, 3))
        if rng.random() < 0.6:
            pen.line([int(x), int(y), int(x + dx), int(y + dy)], fill=shade)
        else:
            pen.ellipse([int(x) - 1, int(y) - 1, int(x) + 1, int(y) + 1], fill=shade)


def _write(pen: ImageDraw.ImageDraw, number: Number, ink: tuple[int, int, int]) -> None:
    font = _font()
    for k, digit in enumerate(number.text):
        pen.text((number.x + font.getlength(number.text[:k]), number.y), digit, font=font, fill=ink)


def _shape(pen: ImageDraw.ImageDraw, thing: Thing, ink: tuple[int, int, int] | int) -> None:
    x, y, r = thing.x, thing.y, thing.r
    box = [x - r, y - r, x + r, y + r]
    thin = max(2, round(r * 0.36))
    if thing.shape == "circle":
        pen.ellipse(box, fill=ink)
    elif thing.shape == "square":
        pen.rectangle(box, fill=ink)
    elif thing.shape == "triangle":
        pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=ink)
    elif thing.shape == "star":
        pen.polygon(_star(x, y, r), fill=ink)
    elif thing.shape == "cross":
        pen.rectangle([x - thin, y - r, x + thin, y + r], fill=ink)
        pen.rectangle([x - r, y - thin, x + r, y + thin], fill=ink)
    elif thing.shape == "ring":
        pen.ellipse(box, outline=ink, width=thin)
    elif thing.shape == "diamond":
        pen.polygon([(x, y - r), (x + r, y), (x, y + r), (x - r, y)], fill=ink)
    elif thing.shape == "bar":
        pen.rectangle([x - r, y - thin, x + r, y + thin], fill=ink)
    else:
        raise ValueError(f"unknown shape {thing.shape!r}; known: {', '.join(SHAPES)}")


def _star(x: int, y: int, r: int) -> list[tuple[float, float]]:
    points = []
    for k in range(10):
        angle, q = -math.pi / 2 + k * math.pi / 5, r if k % 2 == 0 else r * 0.45
        points.append((x + q * math.cos(angle), y + q * math.sin(angle)))
    return points
