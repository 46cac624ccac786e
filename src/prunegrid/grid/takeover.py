"""Taking over from a Snakemake that was killed: its lock of the folder outlives it, and would stop the next one.

Snakemake's lock does not say whose it is. So each run leaves a record of itself, and a lock is removed only if the
recorded process ran on this machine and is gone. Jobs that it left with a scheduler are the executor plugin's to adopt.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

_FOLDER = Path(".snakemake")


def record(folder: Path = _FOLDER) -> None:
    """Write down that this process now holds the folder's lock; to be called once the lock is held."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".head.{os.getpid()}"
    draft.write_text(
        json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "born": born(os.getpid())})
    )
    draft.replace(folder / "head.json")


def release(folder: Path = _FOLDER) -> str:
    """Remove the lock of a run that is gone; returns a line that says so, or "" if nothing was done.

    A lock without a record, of another machine or of a living process stays: Snakemake then says what to do.
    """
    locks = list((folder / "locks").glob("*.lock"))
    try:
        head = json.loads((folder / "head.json").read_text())
        host, pid, then = str(head["host"]), int(head["pid"]), str(head["born"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    now = born(pid)
    lives = now != "" and (then == now or not then)  # process ids are used again
    if not locks or host != socket.gethostname() or lives:
        return ""
    for lock in locks:
        lock.unlink(missing_ok=True)
    return f"The Snakemake that held this folder (process {pid}) is gone: its lock is removed.\n"


def born(pid: int) -> str:
    """When a process started, in a form to compare; "" if there is none (a zombie is none)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # after the name, which is in brackets and may hold spaces: state, ..., start time (proc(5), field 22)
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if values[0] == "Z" else f"{boot} {values[19]}"
    except OSError:
        return "" if Path("/proc/self/stat").exists() else _signalled(pid)


def _signalled(pid: int) -> str:
    """For systems without /proc: whether a process exists, not since when."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "there"
    return "there"
