"""Plain yaml, and what is wrong with a file that holds none: which file, which line, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from prunegrid.grid.errors import GridError


def read(file: Path, where: str) -> Any:
    """What a yaml file holds; `where` is what errors call it. GridError if it is missing or no plain yaml."""
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise broken(where, error) from error


def broken(where: str, error: Exception) -> GridError:
    """What the parser found, with its line."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        said = " ".join(str(error).split())
        return GridError(f"{where} cannot be read: {said}")
    problem = getattr(error, "problem", None) or getattr(error, "context", None) or "no plain yaml"
    return GridError(
        f"{where}, line {mark.line + 1}, column {mark.column + 1}: {problem}; write plain yaml: "
        "`key: value`, the same indentation for the keys of one mapping, every quote and bracket closed"
    )
