"""The canonical on-disk form of a benchmark: a folder with `images/` and one jsonl file per task.

One row is one question: `{"id": str, "cluster": str, "image": "images/x.png" | null, "question": str,
"answer": any, ...}`; a task names the further fields that it needs.
"""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from prunegrid.tasks.errors import TaskError

Row = dict[str, Any]
Kinds = type | tuple[type, ...]

COMMON: Mapping[str, Kinds] = {
    "id": str,
    "cluster": str,
    "image": (str, type(None)),
    "question": str,
    "answer": object,
}


def read_rows(data: Path, file: str, needs: Mapping[str, Kinds]) -> list[Row]:
    """Read and check every row of `data / file`.

    `needs`: fields beyond the common ones, with the types they may have.
    Raises TaskError for a missing file, a line that is not a JSON object, a missing or mistyped field,
    an image path that leaves the folder, a repeated id, and a file without rows.
    """
    path = data / _plain_name(file)
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in data.glob("*.jsonl"))) or "no .jsonl file"
        raise TaskError(f"{path}: no such file (the folder holds {there}); fetch or draw the data first")
    rows: list[Row] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        row = _parse(line, where)
        _check_fields(row, {**COMMON, **needs}, where)
        _check_image(row["image"], where)
        if row["id"] in seen:
            raise TaskError(f"{where}: id {row['id']!r} was used before, on line {seen[row['id']]}")
        seen[row["id"]] = number
        rows.append(row)
    if not rows:
        raise TaskError(f"{path}: no rows")
    return rows


def _plain_name(file: str) -> str:
    if Path(file).name != file or file in {"", ".", ".."}:
        raise TaskError(f"file {file!r}: must be the plain name of a file in the data folder")
    return file


def _lines(path: Path) -> list[str]:
    try:
        # split on "\n" alone: str.splitlines also cuts at characters that JSON allows inside a string
        return path.read_bytes().decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise TaskError(f"{path}: not UTF-8 at byte {error.start}; convert the file") from error


def _parse(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise TaskError(f"{where}: not JSON ({error}); starts with {line[:60]!r}") from error
    if not isinstance(row, dict):
        raise TaskError(f"{where}: a row must be an object, not {type(row).__name__}")
    return row


def _check_fields(row: Row, needs: Mapping[str, Kinds], where: str) -> None:
    for field, kinds in needs.items():
        if field not in row:
            raise TaskError(f"{where}: field {field!r} is missing; there are {', '.join(row) or 'none'}")
        value = row[field]
        # JSON true is an int for isinstance; no field here is a truth value
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not object):
            raise TaskError(f"{where}: field {field!r} must be {_names(kinds)}, not {value!r}")


def _names(kinds: Kinds) -> str:
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    return " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)


def _check_image(image: str | None, where: str) -> None:
    """Lexical on purpose: a DVC cache may itself link files to places outside the folder."""
    if image is None:
        return
    parts = PurePosixPath(image.replace("\\", "/"))
    if not image or parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
        raise TaskError(f"{where}: image {image!r} must be a path inside the data folder")
