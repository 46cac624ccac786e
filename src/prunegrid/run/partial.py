"""Answered rows of a prediction that is not finished yet."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunegrid.run.files import write_jsonl


@dataclass
class Partial:
    """Finished rows of an unfinished prediction: an append-only file that is no output of any rule."""

    path: Path
    fingerprint: str

    def load(self) -> dict[str, dict[str, Any]]:
        """id -> row. A cut last line is dropped; rows of another code or cell are set aside, never mixed in."""
        if not self.path.exists():
            return {}
        rows: dict[str, dict[str, Any]] = {}
        # Lines end with "\n" alone: str.splitlines also cuts at characters that JSON allows inside a string.
        *lines, last = self.path.read_bytes().decode("utf-8", "replace").split("\n")
        for number, line in enumerate([*lines, last] if last else lines):
            try:
                row = json.loads(line) if number < len(lines) else None
            except json.JSONDecodeError:
                row = None
            if number == 0 and (row or {}).get("fingerprint") != self.fingerprint:
                self.path.replace(self.path.with_suffix(f".{int(time.time())}.old"))
                return {}
            if row is None:
                print(f"{self.path}: line {number + 1} was cut; its question is asked again", flush=True)
            elif number:
                rows[row["record"]["id"]] = row
        return rows

    def rewrite(self, rows: Mapping[str, Any]) -> None:
        """Start the file afresh with what is good, so that later lines follow whole ones."""
        write_jsonl(self.path, [{"fingerprint": self.fingerprint}, *rows.values()])

    def append(self, rows: Sequence[Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(r, ensure_ascii=False, allow_nan=False) + "\n" for r in rows))
            file.flush()
