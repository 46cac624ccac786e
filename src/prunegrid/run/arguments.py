"""Numbers of the command line: a wrong one is refused by the parser, with what is allowed."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def whole(text: str) -> int:
    """One whole number from 1 on."""
    return at_least(1)(text)


def at_least(least: int) -> Callable[[str], int]:
    """The type of one whole number from `least` on."""

    def parsed(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r}: write one whole number from {least} on")
        return int(text)

    return parsed


def wholes(text: str) -> list[int]:
    """Whole numbers from 1 on, such as 1,8."""
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) >= 1 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: write whole numbers from 1 on, such as 1,8")
    return [int(part) for part in parts]
