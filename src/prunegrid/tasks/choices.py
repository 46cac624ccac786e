"""Lettered choices: how they are written into a prompt and which letters exist."""

import string
from collections.abc import Sequence

from prunegrid.tasks.errors import TaskError

LETTERS = string.ascii_uppercase


def option_lines(choices: Sequence[str]) -> str:
    """One line per choice, "A. red", joined by newlines."""
    return "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))


def check_choices(choices: object, where: str) -> None:
    """TaskError unless `choices` is a list of 2 to 26 texts."""
    good = isinstance(choices, list) and 2 <= len(choices) <= 26 and all(isinstance(c, str) for c in choices)
    if not good:
        raise TaskError(f"{where}: choices must be a list of 2 to 26 texts, not {choices!r}")
