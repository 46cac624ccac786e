"""The canonical form: `images/` and one jsonl file; counted against what the benchmark is known to have."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image
from tqdm import tqdm

from prunegrid.benchmarks.tree import Bytes, Tree
from prunegrid.tasks.errors import TaskError

SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif"}


@dataclass(frozen=True)
class Item:
    """One question: the fields of its row but `image`, and its picture: a name without suffix, and how to read it."""

    row: Mapping[str, Any]
    name: str
    picture: Bytes


class Benchmark(Protocol):
    """What a module of this package has."""

    REPOSITORY: str  # on the hub, below its organisation
    PATTERNS: tuple[str, ...]  # its files there
    COUNTS: Mapping[int, str]  # rows that it may have -> which edition that is

    def read(self, tree: Tree) -> Iterator[Item]:
        """Every question, in file order, from the hub's files or from the authors'. Raises TaskError."""


def write(items: Iterable[Item], out: Path, file: str, counts: Mapping[int, str]) -> tuple[int, str]:
    """Write out/images and out/file; (rows, edition). The jsonl file comes last, so a killed run is not taken for a
    finished one, and pictures that are there are not written again. TaskError for a count that no edition has."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    there = {p.stem: p.name for p in (out / "images").iterdir() if p.suffix != ".tmp"}
    lines: list[str] = []
    names: dict[str, str] = {}
    for item in tqdm(items, desc=out.name, unit="q", total=max(counts)):
        name = names.get(item.name) or there.get(_stem(item.name)) or _store(item, out / "images")
        names[item.name] = name
        lines.append(json.dumps({**item.row, "image": f"images/{name}"}, ensure_ascii=False) + "\n")
    if len(lines) not in counts:
        editions = "; ".join(f"{n} ({what})" for n, what in counts.items())
        raise TaskError(
            f"{out.name}: {len(lines)} rows, and no edition has so many: {editions}; is a file missing?"
        )
    partial = out / f".{file}.tmp"
    partial.write_text("".join(lines), encoding="utf-8")
    partial.replace(out / file)
    return len(lines), counts[len(lines)]


def _store(item: Item, folder: Path) -> str:
    """The file name of a new picture: its own bytes, unchanged, under a suffix that says what they are."""
    data = item.picture()
    try:
        with Image.open(io.BytesIO(data)) as opened:
            suffix = SUFFIXES.get(opened.format or "", f".{(opened.format or 'bin').lower()}")
    except (OSError, SyntaxError, ValueError) as error:
        raise TaskError(
            f"question {item.row['id']}: its picture {item.name} is none ({error}); fetch it again"
        ) from error
    stem = _stem(item.name)
    partial = folder / f"{stem}.tmp"
    partial.write_bytes(data)
    partial.replace(folder / f"{stem}{suffix}")
    return f"{stem}{suffix}"


def _stem(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)


def content(data: bytes) -> str:
    """A name for a picture that has none, the same for the same bytes."""
    return hashlib.sha256(data).hexdigest()[:16]
