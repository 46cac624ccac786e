"""Text files that a reader sees whole, the old or the new: written under a temporary name and renamed."""

from __future__ import annotations

import os
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write `text`, whatever stood there; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def write_changed(path: Path, text: str) -> None:
    """As `write_text`; a file that already says the same is not touched, so that its time stamp stays."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
