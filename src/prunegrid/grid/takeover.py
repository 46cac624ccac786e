"""Taking over from a Snakemake that was killed: its lock of the folder outlives it, and would stop the next one.

Snakemake's lock does not say whose it is. So each run leaves a record of itself, and a lock is removed only if the
recorded process ran on this machine and is gone. Jobs that it left with a scheduler are the executor plugin's to adopt.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import psutil

_FOLDER = Path(".snakemake")
_SLACK_S = 1.0


def record(folder: Path = _FOLDER) -> None:
    """Write down that this process now holds the folder's lock; to be called once the lock is held."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".head.{os.getpid()}"
    born = psutil.Process().create_time()
    draft.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "born": born}))
    draft.replace(folder / "head.json")


def release(folder: Path = _FOLDER) -> str:
    """Remove the lock of a run that is gone; returns a line that says so, or "" if nothing was done.

    A lock without a record, of another machine or of a living process stays: Snakemake then says what to do.
    """
    locks = list((folder / "locks").glob("*.lock"))
    try:
        head = json.loads((folder / "head.json").read_text())
        host, pid, born = str(head["host"]), int(head["pid"]), float(head["born"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    if not locks or host != socket.gethostname() or _lives(pid, born):
        return ""
    for lock in locks:
        lock.unlink(missing_ok=True)
    return f"The Snakemake that held this folder (process {pid}) is gone: its lock is removed.\n"


def _lives(pid: int, born: float) -> bool:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - born) < _SLACK_S  # process ids are used again
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
