"""Result files of submitit, and when they may be believed.

Job ids start again after a reset of the controller, so a file of the right name may be an old job's.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """How a job ended by its own account: ok, facts (of a success), trace (of a failure)."""

    ok: bool
    facts: dict[str, Any]
    trace: str = ""

    @property
    def summary(self) -> str:
        """The exception's own line(s) of a failure, without the traceback."""
        lines = [line for line in self.trace.rstrip().splitlines() if line.strip()]
        frames = [index for index, line in enumerate(lines) if line.startswith("  ")]
        text = "\n".join(lines[frames[-1] + 1 :] if frames else lines)
        return re.sub(r"^(\w+\.)+", "", text)  # the exception's module says nothing to a user


def result_path(folder: Path, job_id: str) -> Path:
    """Where submitit writes the result of a job (its only task has number 0)."""
    return folder / f"{job_id}_0_result.pkl"


def log_path(folder: Path, job_id: str) -> Path:
    """Where the output of all attempts of a job is appended."""
    return folder / f"{job_id}_0_log.out"


def submitted_path(folder: Path, job_id: str) -> Path:
    """The pickled job that the node loads."""
    return folder / f"{job_id}_submitted.pkl"


def present(folders: Iterable[Path]) -> set[Path]:
    """Result files in some folders; listing a folder also refreshes what NFS has cached of it."""
    found: set[Path] = set()
    for folder in set(folders):
        try:
            found.update(path for path in folder.iterdir() if path.name.endswith("_result.pkl"))
        except OSError:
            continue
    return found


def read_outcome(path: Path, token: str, not_before: float) -> Outcome | None:
    """The outcome in a result file, None if there is none that belongs to the submission `token`.

    A success must carry the token. A failure carries it too if the job's own code failed; one from outside
    (say, an import error) is believed if the file is not older than the submission, not_before, in seconds
    since 1970 by the clock of the file system.
    """
    try:
        written = path.stat().st_mtime
        with path.open("rb") as file:
            kind, value = pickle.load(file)
    except (OSError, EOFError, pickle.UnpicklingError, ValueError, TypeError, AttributeError, ImportError):
        return None  # not there, not complete or not ours: the scheduler's state decides
    if kind == "success":
        mine = isinstance(value, dict) and value.get("token") == token
        return Outcome(True, value) if mine else None
    named = re.findall(
        r"\(submission (\S+)\)", str(value)
    )  # the last one: a traceback also quotes source code
    if named:
        return Outcome(False, {}, str(value)) if named[-1] == token else None
    return Outcome(False, {}, str(value)) if written >= not_before else None
