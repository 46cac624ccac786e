"""Jobs that an earlier, killed Snakemake left behind: adopt them, end them, or make sure they never start."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from .claims import read_claim, revoke, void
from .cluster import Cluster
from .ledger import Entry, Ledger
from .local import is_controller
from .results import present, read_outcome, result_path
from .states import UNCLEAR, JobState
from .submit import SubmissionError, mark_of
from .tasks import Submission, Task, question


@dataclass
class Sorted:
    """fresh: to be submitted. adopted: already with the scheduler. waiting: an old job must end or be
    asked about first; sort again later. blocked: cannot be decided here, with the reason.
    """

    fresh: list[Task] = field(default_factory=list)
    adopted: list[Submission] = field(default_factory=list)
    waiting: list[Task] = field(default_factory=list)
    blocked: list[tuple[Task, str]] = field(default_factory=list)


class Adopter:
    """Sorts tasks by what the ledger says about their outputs; no output ever gets two writers."""

    def __init__(
        self, ledger: Ledger, cluster: Cluster, settle_s: float, reattach: bool, since: float
    ) -> None:
        """settle_s: how long a job may be unknown to the scheduler right after its submission.

        since: when this Snakemake began to look at files, in seconds since 1970. It has seen what was finished
        by then: if that is asked for all the same (forcerun), it is to be computed again.
        """
        self._ledger = ledger
        self._cluster = cluster
        self._settle_s = settle_s
        self._reattach = reattach
        self._since = since

    def sort(self, tasks: Iterable[Task], now: float, say: Callable[[str], None]) -> Sorted:
        """Sort the tasks; asks the scheduler at most once. now: seconds since 1970; say: prints a line."""
        result = Sorted()
        open_cases: list[tuple[Task, Entry]] = []
        entries = [(task, self._ledger.read(task.identity.key)) for task in tasks]
        ids = self._missing_ids([entry for _, entry in entries if entry is not None and not entry.job_id])
        for task, entry in entries:
            if entry is not None and not entry.job_id:
                entry = replace(entry, job_id=ids[entry.token]) if entry.token in ids else None
            if entry is None:
                result.fresh.append(task)
            elif self._undecidable(entry):
                result.blocked.append((task, self._where(entry)))
            else:
                open_cases.append((task, entry))
        if open_cases:
            self._decide(open_cases, result, now, say)
        return result

    def _decide(
        self, cases: list[tuple[Task, Entry]], result: Sorted, now: float, say: Callable[[str], None]
    ) -> None:
        present(Path(entry.folder) for _, entry in cases)  # refreshes what NFS has cached of the folders
        states = self._cluster.states({entry.job_id: question(entry) for _, entry in cases})
        to_end: list[Entry] = []
        for task, entry in cases:
            state = states.get(entry.job_id)
            result_file = result_path(Path(entry.folder), entry.job_id)
            outcome = read_outcome(result_file, entry.token, entry.born)
            same = self._reattach and entry.work == task.identity.work
            if outcome is not None:
                unseen = _all_newer([str(result_file)], self._since)
                complete = outcome.ok and same and unseen and _all_newer(task.outputs, entry.submitted)
                self._adopt(task, entry, result, say) if complete else self._start_anew(task, entry, result)
            elif self._too_early(state, now - entry.submitted):
                result.waiting.append(task)
            elif state is None or not state.alive:
                self._start_anew(task, entry, result)
            elif same:
                self._adopt(task, entry, result, say)
            else:
                to_end.append(entry)
                result.waiting.append(task)
        self._end(to_end, say)

    def _too_early(self, state: JobState | None, age_s: float) -> bool:
        # Somebody who might know the job could not be asked, or it is so new that nobody knows it yet.
        return age_s < self._settle_s if state is None else state.state == UNCLEAR

    def _adopt(self, task: Task, entry: Entry, result: Sorted, say: Callable[[str], None]) -> None:
        say(f"Adopting {entry.cluster} job {entry.job_id} ({entry.name}) of an earlier Snakemake.")
        result.adopted.append(Submission(task, entry))

    def _start_anew(self, task: Task, entry: Entry, result: Sorted) -> None:
        revoke(self._ledger.claim(entry.token))  # should it be requeued after all, it will not compute
        result.fresh.append(task)

    def _end(self, entries: list[Entry], say: Callable[[str], None]) -> None:
        if not entries:
            return
        ids = [entry.job_id for entry in entries]
        say(f"Ending jobs of an earlier Snakemake that computed something else: {', '.join(ids)}")
        claims = {entry.job_id: read_claim(self._ledger.claim(entry.token)) for entry in entries}
        for entry in entries:
            revoke(self._ledger.claim(entry.token))
        try:
            self._cluster.cancel(ids, claims)
        except SubmissionError as error:
            say(f"Cannot cancel yet: {error}")

    def _missing_ids(self, entries: list[Entry]) -> dict[str, str]:
        """Token -> id of submissions whose head died before it knew the id, as far as their jobs run.

        A job that has not started is void from now on: it will not compute, and is taken out of the queue.
        """
        ids = {}
        for entry in entries:
            claim = void(self._ledger.claim(entry.token))
            if claim is not None:
                ids[entry.token] = claim.job_id
        running = {mark_of(token) for token in ids}
        for mark in {mark_of(entry.token) for entry in entries} - running:
            self._cluster.withdraw(mark)
        return ids

    def _undecidable(self, entry: Entry) -> bool:
        # A job of the other cluster, or of another machine, that has left no result may still run.
        here = entry.host == socket.gethostname()
        if entry.cluster == self._cluster.name and (entry.cluster != "local" or here):
            return False
        if entry.cluster == "local" and here:
            return is_controller(int(entry.job_id))
        return not result_path(Path(entry.folder), entry.job_id).exists()

    def _where(self, entry: Entry) -> str:
        return (
            f"{entry.cluster} job {entry.job_id} ({entry.name}) of an earlier Snakemake on {entry.host} may "
            f"still write these outputs. Run there with --submitit-cluster {entry.cluster}; if it has ended, "
            f"remove {self._ledger.path(entry.key)}"
        )


def _all_newer(files: Iterable[str], moment: float) -> bool:
    # A minute of slack: the file system's clock may be behind this host's.
    try:
        return all(Path(path).stat().st_mtime >= moment - 60.0 for path in files)
    except OSError:
        return False
