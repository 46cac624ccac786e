"""Rows of the hub's parquet files, with their columns checked before the first row is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from prunegrid.benchmarks.tree import Tree
from prunegrid.tasks.errors import TaskError

Row = dict[str, Any]
# kind -> does a column's type fit
KINDS: Mapping[str, tuple[str, ...]] = {
    "text": ("string", "large_string", "null"),
    "name": ("string", "large_string", "int"),
    "whole": ("int",),
    "picture": ("struct",),
    "pictures": ("list", "large_list"),
    "list": ("list", "large_list"),
    "any": ("",),
}


def rows(tree: Tree, pattern: str, columns: Mapping[str, str]) -> Iterator[Row]:
    """Rows of every file that fits, files in the order of their names. `columns`: name -> a kind; others are not read.

    TaskError for no file, a missing column, or one of another type, all of them named.
    """
    import io

    from pyarrow import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    names = tree.glob(pattern)
    if not names:
        raise TaskError(f"{tree.place}: no file like {pattern}")
    for name in names:
        path = tree.place / name
        try:
            file = ParquetFile(path if path.is_file() else io.BytesIO(tree.names[name]()))
        except (ArrowInvalid, OSError) as error:
            raise TaskError(f"{name} is cut, or no parquet file ({error}); fetch it again") from error
        there = {field.name: str(field.type) for field in file.schema_arrow}
        wrong = [
            f"{c} is {there.get(c, 'missing')}, not {k}"
            for c, k in columns.items()
            if not _fits(there.get(c), k)
        ]
        if wrong:
            raise TaskError(f"{name}: {'; '.join(wrong)}; its columns are {', '.join(there)}")
        for batch in file.iter_batches(batch_size=64, columns=list(columns)):
            yield from batch.to_pylist()


def _fits(found: str | None, kind: str) -> bool:
    return found is not None and found.startswith(KINDS[kind])


def picture(value: Any, name: str) -> tuple[str, Callable[[], bytes]]:
    """(stem of its file name or `name`, bytes) of an image column's value."""
    if not isinstance(value, dict) or not isinstance(value.get("bytes"), bytes):
        raise TaskError(f"question {name}: its picture holds no bytes")
    data: bytes = value["bytes"]
    return (PurePosixPath(value["path"]).stem if value.get("path") else name), lambda: data
