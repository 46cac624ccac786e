"""Published files, wherever they lie: in a folder, in folders below it, in the zip archives among them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from prunegrid.tasks.errors import TaskError

Bytes = Callable[[], bytes]


class Tree:
    """A folder, or one file of it. Archives are read in place: nothing is unpacked."""

    def __init__(self, place: Path) -> None:
        self.place = place
        if not place.exists():
            raise TaskError(f"{place}: no such file or folder")

    @cached_property
    def names(self) -> dict[str, Bytes]:
        """Path below the place -> its bytes; a member of an archive stands at the archive's own place."""
        found: dict[str, Bytes] = {}
        every = [self.place] if self.place.is_file() else sorted(self.place.rglob("*"))
        home = self.place.parent if self.place.is_file() else self.place
        for path in every:
            if not path.is_file() or ".cache" in path.relative_to(home).parts:
                continue
            if path.suffix == ".zip":
                found |= dict(self._members(path))
            else:
                found[path.relative_to(home).as_posix()] = path.read_bytes
        return found

    @cached_property
    def _by_base(self) -> dict[str, list[str]]:
        made: dict[str, list[str]] = {}
        for name in self.names:
            made.setdefault(PurePosixPath(name).name, []).append(name)
        return made

    def _members(self, path: Path) -> Iterator[tuple[str, Bytes]]:
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise TaskError(f"{path} is no whole zip archive ({error}); fetch it again") from error
        for member in archive.infolist():
            if not member.is_dir() and "__MACOSX" not in member.filename:
                yield member.filename, lambda m=member: archive.read(m)  # type: ignore[misc]

    def glob(self, pattern: str) -> list[str]:
        """Names whose end fits `pattern` (a*.json, b/*.txt), sorted."""
        return sorted(n for n in self.names if fnmatch(n, pattern) or fnmatch(n, f"*/{pattern}"))

    def has(self, *patterns: str) -> bool:
        return all(self.glob(p) for p in patterns)

    def one(self, *patterns: str) -> bytes:
        """The bytes of the one file that fits the first pattern that any file fits. TaskError names what was looked for."""
        for pattern in patterns:
            found = self.glob(pattern)
            if len(found) > 1:
                raise TaskError(
                    f"{self.place}: {len(found)} files like {pattern} ({', '.join(found[:3])}); leave one"
                )
            if found:
                return self.names[found[0]]()
        raise TaskError(f"{self.place}: no file like {' or '.join(patterns)}; it has {self._few()}")

    def picture(self, names: Iterable[str]) -> tuple[str, Bytes]:
        """(base name, bytes) of the first of several names that is there, wherever below the place."""
        tried = list(names)
        for name in tried:
            for found in self._by_base.get(PurePosixPath(name).name, []):
                if found == name or found.endswith(f"/{name}"):
                    return PurePosixPath(name).name, self.names[found]
        raise TaskError(f"{self.place}: no picture {' or '.join(tried)}; it has {self._few()}")

    def json(self, *patterns: str) -> Any:
        return _parsed(self.one(*patterns), str(patterns[0]))

    def jsonl(self, *patterns: str) -> list[dict[str, Any]]:
        """Lines of objects; a file that holds one list of objects is read, too."""
        raw = self.one(*patterns)
        if raw.lstrip()[:1] == b"[":
            return list(_parsed(raw, patterns[0]))
        lines = raw.decode("utf-8", "strict").split("\n")
        return [
            _parsed(line.encode(), f"{patterns[0]} line {n}")
            for n, line in enumerate(lines, 1)
            if line.strip()
        ]

    def _few(self) -> str:
        names = list(self.names)
        return f"{len(names)} files: {', '.join(names[:5])}" if names else "no file"


def _parsed(raw: bytes, where: str) -> Any:
    try:
        return json.loads(raw)
    except ValueError as error:
        raise TaskError(f"{where}: cut, or no JSON ({error})") from error
