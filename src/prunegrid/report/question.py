"""A question under its picture, the words that a method went by in bold and underlined: to be read in greyscale too."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

Pixels = npt.NDArray[np.uint8]
_SIZE = 1 / 15  # of the letters, of the width
_INK, _SOFT = (0, 0, 0), (95, 95, 95)


def emphasised(question: str, words: Sequence[str]) -> list[tuple[str, bool]]:
    """`question` in pieces, and whether each was gone by. `words` are tokens in the order of the question, parts of words
    perhaps; one that is not found in it (of the text around it) is passed over."""
    marks, start = [False] * len(question), 0
    low = question.lower()
    for word in filter(None, (w.strip().lower() for w in words)):
        at = low.find(word, start)
        if at < 0:
            continue
        start = at + len(word)
        marks[at:start] = [True] * len(word)
    pieces: list[tuple[str, bool]] = []
    for letter, mark in zip(question, marks, strict=True):
        if pieces and pieces[-1][1] == mark:
            pieces[-1] = (pieces[-1][0] + letter, mark)
        else:
            pieces.append((letter, mark))
    return pieces


def strip(question: str, words: Sequence[str], width: int) -> Pixels:
    """[h, width, 3]: the question on white, wrapped at spaces."""
    size = max(8, round(width * _SIZE))
    height = round(1.35 * size)
    letters = [(letter, mark) for piece, mark in emphasised(question, words) for letter in piece]
    lines = _wrapped(letters, width - size, size)
    made = Image.new("RGB", (width, height * len(lines) + size // 2), (255, 255, 255))
    pen = ImageDraw.Draw(made)
    for row, line in enumerate(lines):
        x, y = size / 2, size / 4 + row * height
        for letter, mark in line:
            font = _font(mark, size)
            pen.text((x, y), letter, font=font, fill=_INK if mark else _SOFT)
            after = x + font.getlength(letter)
            if mark:
                pen.line([x, y + 1.15 * size, after, y + 1.15 * size], fill=_INK, width=max(1, size // 12))
            x = after
    return np.asarray(made)


def _wrapped(letters: Sequence[tuple[str, bool]], width: float, size: int) -> list[list[tuple[str, bool]]]:
    """Lines no longer than `width` pixels, cut at spaces."""
    words: list[list[tuple[str, bool]]] = [[]]
    for letter in letters:
        words[-1].append(letter)
        if letter[0] == " ":
            words.append([])
    lines: list[list[tuple[str, bool]]] = [[]]
    for word in words:
        if lines[-1] and _length([*lines[-1], *word], size) > width:
            lines.append([])
        lines[-1] += word
    return lines


def _length(letters: Sequence[tuple[str, bool]], size: int) -> float:
    return sum(_font(mark, size).getlength(letter) for letter, mark in letters)


@cache
def _font(bold: bool, size: int) -> ImageFont.FreeTypeFont:
    """The font that matplotlib ships."""
    weight = "bold" if bold else "normal"
    found = font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans", weight=weight))
    return ImageFont.truetype(found, size)
