"""From ready jobs to submissions: adoption, arrays, and patience when the scheduler refuses."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .adopt import Adopter
from .clients import submission_environment
from .cluster import Cluster
from .command import SnakemakeCommand
from .gpus import GpuPool
from .identity import array_name
from .ledger import Entry, Ledger
from .refusal import explain
from .results import submitted_path
from .submit import Refusal, SubmissionError, backoff_s, buckets, chunks, classify, new_mark, token_of
from .tasks import Submission, Task

_GIVE_UP_S = 1800.0
_AFTER_WAIT = 8  # jobs to try first after waiting for room in the queue


@dataclass(frozen=True)
class Callbacks:
    """What the dispatcher tells its owner: submitted(job, adopted), failed(task, message), say(line)."""

    submitted: Callable[[Submission, bool], None]
    failed: Callable[[Task, str], None]
    say: Callable[[str], None]


@dataclass(frozen=True)
class Held:
    """Tasks that wait for their next try.

    due, since: when to try, and since when it fails (seconds since 1970); failures: in a row.
    mark: comment of a refused submission that may exist after all. size: most tasks in one submission, 0 for
    no bound. settled: whether the ledger has been asked about these tasks.
    """

    tasks: Sequence[Task]
    due: float
    since: float
    failures: int = 0
    mark: str = ""
    size: int = 0
    settled: bool = False


class Dispatcher:
    """Hands tasks to the cluster; what cannot be submitted now is kept and tried again by `retry`."""

    def __init__(
        self,
        cluster: Cluster,
        ledger: Ledger,
        adopter: Adopter,
        gpus: GpuPool,
        folder: Path,
        workdir: Path,
        max_timeouts: int,
        environment: Callable[[], Mapping[str, str]],
        callbacks: Callbacks,
    ) -> None:
        """folder: for submitit's files; environment: variables (with secrets) that jobs inherit."""
        self._cluster = cluster
        self._ledger = ledger
        self._adopter = adopter
        self._gpus = gpus
        self._folder = folder
        self._workdir = workdir
        self._max_timeouts = max_timeouts
        self._environment = environment
        self._tell = callbacks
        self._held: list[Held] = []
        self._offers: dict[str, list[str]] = {}

    @property
    def held(self) -> int:
        """How many tasks wait for another try."""
        return sum(len(held.tasks) for held in self._held)

    def dispatch(self, tasks: Sequence[Task], now: float) -> None:
        """Adopt or submit the tasks. now: seconds since 1970."""
        self._try(Held(tasks, now, now), now)

    def retry(self, now: float) -> None:
        """Try again what is due."""
        due = [held for held in self._held if held.due <= now]
        self._held = [held for held in self._held if held.due > now]
        for held in due:
            self._try(held, now)

    def drop(self) -> None:
        """Forget what was not submitted (the workflow is being cancelled)."""
        self._held = []

    def _try(self, held: Held, now: float) -> None:
        if held.mark and not self._cluster.withdraw(held.mark):
            self._hold(replace(held, failures=held.failures + 1), now)
        elif held.settled:
            self._submit_all(held, now)
        else:
            found = self._adopter.sort(held.tasks, now, self._tell.say)
            for task, reason in found.blocked:
                self._tell.failed(task, reason)
            for submission in found.adopted:
                self._gpus.occupy(submission.entry.devices)
                self._tell.submitted(submission, True)
            if found.waiting:
                self._hold(Held(found.waiting, now, now, held.failures + 1), now)
            self._submit_all(Held(found.fresh, now, now, settled=True), now)

    def _submit_all(self, held: Held, now: float) -> None:
        limit = self._cluster.array_limit
        size = min(limit, held.size or limit)
        queue = [chunk for bucket in buckets(held.tasks, _parameters) for chunk in chunks(bucket, size)]
        for index, chunk in enumerate(queue):
            mark = new_mark()
            refusal = self._submit(chunk, mark, now)
            if not refusal:
                held = replace(held, failures=0, since=now)
            elif self._hopeless(refusal, held, now):
                self._fail(chunk, refusal)
            else:  # what comes after it would be refused too
                rest = [task for later in queue[index:] for task in later]
                self._refused(replace(held, tasks=rest, mark=mark, size=len(chunk)), refusal, now)
                return

    def _submit(self, chunk: Sequence[Task], mark: str, now: float) -> str:
        """Submit tasks together; returns "" or why the cluster did not take them."""
        entries = [self._entry(task, token_of(mark, index), now) for index, task in enumerate(chunk)]
        commands = [self._command(task, entry) for task, entry in zip(chunk, entries, strict=True)]
        name = chunk[0].identity.name
        if len(chunk) > 1:
            name = array_name([task.identity.name for task in chunk], mark)
        try:
            for entry in entries:
                self._ledger.write(entry)  # before sbatch: if this process dies now, the next one knows
            with submission_environment(self._environment()):
                ids = self._cluster.submit(self._folder, name, mark, chunk[0].parameters, commands)
        except (SubmissionError, OSError) as error:
            for entry in entries:
                self._ledger.remove(entry)
                self._gpus.give_back(entry.devices)
            where = f"cannot write in {self._folder.parent}: " if isinstance(error, OSError) else ""
            return where + (str(error) or "no reason given")
        for task, entry, job_id in zip(chunk, entries, ids, strict=True):
            known = replace(entry, job_id=job_id, born=_time_of(submitted_path(self._folder, job_id)))
            try:
                self._ledger.write(known)
            except OSError as error:  # the entry without the id stays, and the job's claim names it
                self._tell.say(f"Job {job_id} is submitted, but cannot be noted in the ledger: {error}")
            self._tell.submitted(Submission(task, known), False)
        return ""

    def _fail(self, chunk: Sequence[Task], refusal: str) -> None:
        if refusal not in self._offers:  # retries are refused likewise: they need not ask again
            self._offers[refusal] = self._cluster.offers(refusal)
        for index, task in enumerate(chunk):
            offers = () if index else self._offers[refusal]
            self._tell.failed(task, explain(self._cluster.name, refusal, task.parameters, offers))

    def _hopeless(self, refusal: str, held: Held, now: float) -> bool:
        # A full queue empties slowly but surely; an outage must end some time.
        kind = classify(refusal)
        return kind is Refusal.PERMANENT or (kind is Refusal.TRANSIENT and now - held.since > _GIVE_UP_S)

    def _refused(self, held: Held, refusal: str, now: float) -> None:
        self._tell.say(f"Submission of {held.size} job(s) will be tried again: {refusal.splitlines()[-1]}")
        if classify(refusal) is Refusal.TRANSIENT:
            self._hold(replace(held, size=0, failures=held.failures + 1), now)
        elif held.size > 1:  # fewer may fit
            self._held.append(replace(held, size=held.size // 2, due=now, since=now))
        else:
            self._hold(replace(held, size=_AFTER_WAIT, failures=held.failures + 1, since=now), now)

    def _hold(self, held: Held, now: float) -> None:
        self._held.append(replace(held, due=now + backoff_s(held.failures)))

    def _entry(self, task: Task, token: str, now: float) -> Entry:
        devices = self._gpus.take(task.gpus) if self._cluster.name == "local" else ()
        return Entry(
            key=task.identity.key,
            work=task.identity.work,
            name=task.identity.name,
            token=token,
            cluster=self._cluster.name,
            host=socket.gethostname(),
            folder=str(self._folder),
            submitted=now,
            devices=devices,
        )

    def _command(self, task: Task, entry: Entry) -> SnakemakeCommand:
        env = {"CUDA_VISIBLE_DEVICES": ",".join(entry.devices)} if self._cluster.name == "local" else {}
        return SnakemakeCommand(
            command=task.command,
            cwd=str(self._workdir),
            label=task.identity.name,
            token=entry.token,
            claim=str(self._ledger.claim(entry.token)),
            logs=task.logs,
            attempt=task.attempt,
            limit_s=task.limit_s,
            signal_delay_s=task.parameters["signal_delay_s"],
            max_timeouts=self._max_timeouts,
            env=env,
            gpus=task.gpus,
        )


def _parameters(task: Task) -> dict[str, Any]:
    return task.parameters


def _time_of(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time() - 60.0
