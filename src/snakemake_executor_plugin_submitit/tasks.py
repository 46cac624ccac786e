"""The plugin's own records of a job: before submission (Task) and after it (Submission)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .identity import Identity
from .ledger import Entry
from .results import log_path, result_path
from .states import JobState, Question, Watch
from .submit import mark_of


@dataclass(frozen=True)
class Task:
    """A Snakemake job that is ready to be submitted.

    parameters: for submitit; command: shell text; outputs: files that a success has left behind;
    limit_s: time limit in seconds; gpus: how many per node.
    """

    job: Any
    identity: Identity
    parameters: dict[str, Any]
    command: str
    logs: tuple[str, ...]
    outputs: tuple[str, ...]
    attempt: int
    limit_s: float
    gpus: int


@dataclass
class Submission:
    """A job that a scheduler has, with what the polling remembers about it."""

    task: Task
    entry: Entry
    watch: Watch = field(default_factory=Watch)
    state: JobState | None = None
    failed_at: float | None = None  # when its own account of a failure was first seen, seconds since 1970

    @property
    def folder(self) -> Path:
        """Where submitit's files of this job are."""
        return Path(self.entry.folder)

    @property
    def result(self) -> Path:
        """The result file."""
        return result_path(self.folder, self.entry.job_id)

    @property
    def log(self) -> Path:
        """The log of all attempts."""
        return log_path(self.folder, self.entry.job_id)


def question(entry: Entry) -> Question:
    """What to ask a cluster about a submission."""
    return Question(entry.submitted, mark_of(entry.token))
