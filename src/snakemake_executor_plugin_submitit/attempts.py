"""Logs of earlier attempts: Snakemake deletes a rule's log files whenever the job starts again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path


def keep_earlier_logs(cwd: str, logs: Iterable[str]) -> list[Path]:
    """Rename each existing log file to `<log>.attempt1`, `.attempt2`, ...; returns the new names.

    A log that cannot be renamed is left alone: it is not worth failing a job for.
    """
    kept = []
    for log in logs:
        path = Path(cwd) / log
        with contextlib.suppress(OSError):
            if path.is_file() and path.stat().st_size > 0:
                kept.append(path.rename(free_name(path)))
    return kept


def free_name(path: Path) -> Path:
    """The first `<path>.attempt<n>` that does not exist, n from 1."""
    number = 1
    while os.path.lexists(candidate := path.with_name(f"{path.name}.attempt{number}")):
        number += 1
    return candidate
