"""A cluster, jobs and submissions without a scheduler."""

import pickle
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from snakemake_executor_plugin_submitit.claims import Claim
from snakemake_executor_plugin_submitit.command import SnakemakeCommand
from snakemake_executor_plugin_submitit.identity import Identity
from snakemake_executor_plugin_submitit.ledger import Entry
from snakemake_executor_plugin_submitit.results import result_path, submitted_path
from snakemake_executor_plugin_submitit.states import JobState, Question
from snakemake_executor_plugin_submitit.submit import SubmissionError
from snakemake_executor_plugin_submitit.tasks import Submission, Task


class FakeCluster:
    """Remembers what it was asked; `known` are its jobs, `errors` what the next submissions fail with."""

    def __init__(self, name: str = "slurm", array_limit: int = 1000) -> None:
        self.name = name
        self.array_limit = array_limit
        self.known: dict[str, JobState] = {}
        self.errors: list[str] = []
        self.submitted: list[tuple[str, str, list[SnakemakeCommand]]] = []
        self.cancelled: list[str] = []
        self.withdrawn: list[str] = []
        self.can_withdraw = True
        self.queries = 0

    def submit(
        self,
        folder: Path,
        name: str,
        mark: str,
        parameters: Mapping[str, Any],
        commands: Sequence[SnakemakeCommand],
    ) -> list[str]:
        if self.errors:
            raise SubmissionError(self.errors.pop(0))
        self.submitted.append((name, mark, list(commands)))
        base = str(100 + len(self.submitted))
        ids = [base] if len(commands) == 1 else [f"{base}_{index}" for index in range(len(commands))]
        for job_id in ids:
            submitted_path(folder, job_id).write_bytes(b"")
            self.known[job_id] = JobState("PENDING")
        return ids

    def states(self, jobs: Mapping[str, Question]) -> dict[str, JobState]:
        self.queries += bool(jobs)
        return {job_id: self.known[job_id] for job_id in jobs if job_id in self.known}

    def cancel(self, ids: Collection[str], claims: Mapping[str, Claim | None]) -> None:
        self.cancelled.extend(ids)

    def withdraw(self, mark: str) -> bool:
        self.withdrawn.append(mark)
        return self.can_withdraw

    def offers(self, refusal: str) -> list[str]:
        self.queries += 1
        return ["partition main"]


def make_task(key: str = "k", work: str = "w", parameters: dict[str, Any] | None = None, **more: Any) -> Task:
    """A task that nobody will run."""
    values: dict[str, Any] = {
        "job": SimpleNamespace(name=key),
        "identity": Identity(key, work, f"rule-{key}"),
        "parameters": {"signal_delay_s": 90, **(parameters or {"time": 10})},
        "command": "true",
        "logs": (),
        "outputs": (),
        "attempt": 1,
        "limit_s": 600.0,
        "gpus": 0,
    }
    return Task(**{**values, **more})


def make_entry(folder: Path, key: str = "k", work: str = "w", **more: Any) -> Entry:
    """An entry as an earlier head on this machine would have left it."""
    values: dict[str, Any] = {
        "name": f"rule-{key}",
        "token": f"token-{key}",
        "cluster": "slurm",
        "host": "login",
        "folder": str(folder),
        "submitted": 1000.0,
        "job_id": "7",
    }
    return Entry(key, work, **{**values, **more})


def make_submission(folder: Path, **more: Any) -> Submission:
    """A submitted job."""
    entry = make_entry(folder, **more)
    return Submission(make_task(entry.key, entry.work), entry)


def write_result(folder: Path, job_id: str, kind: str, value: Any) -> Path:
    """A result file as submitit writes it."""
    path = result_path(folder, job_id)
    path.write_bytes(pickle.dumps((kind, value)))
    return path
