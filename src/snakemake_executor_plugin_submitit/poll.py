"""One polling round over all jobs: result files first, then one question to the scheduler for the rest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .cluster import Cluster
from .results import Outcome, present, read_outcome
from .states import FAILURES, UNCLEAR, JobState, Verdict
from .tasks import Submission, question

_REASON_S = 20.0  # how long a failure waits for the scheduler's reason


@dataclass(frozen=True)
class Report:
    """A job that ended. outcome: its own account, None if it left none; then verdict says why it is over."""

    submission: Submission
    outcome: Outcome | None
    verdict: Verdict = Verdict.FAILED

    @property
    def ok(self) -> bool:
        """Whether the job succeeded."""
        return self.outcome is not None and self.outcome.ok


class Poller:
    """Finds out which jobs have ended."""

    def __init__(self, cluster: Cluster, grace_s: float) -> None:
        """grace_s: how long a job may be unknown, or complete without a result, before it is given up."""
        self._cluster = cluster
        self._grace_s = grace_s

    def round(self, submissions: Iterable[Submission], now: float) -> list[Report]:
        """Reports of the jobs that have ended; asks the scheduler at most once. now: seconds since 1970."""
        jobs = list(submissions)
        files = present(job.folder for job in jobs)
        outcomes = [_outcome(job) if job.result in files else None for job in jobs]
        doubtful = [job for job, outcome in zip(jobs, outcomes, strict=True) if not (outcome and outcome.ok)]
        states = self._cluster.states({job.entry.job_id: question(job.entry) for job in doubtful})
        reports = []
        for job, outcome in zip(jobs, outcomes, strict=True):
            report = self._report(job, outcome, states.get(job.entry.job_id), now)
            if report is not None:
                reports.append(report)
        return reports

    def _report(
        self, job: Submission, outcome: Outcome | None, state: JobState | None, now: float
    ) -> Report | None:
        if outcome is not None and outcome.ok:
            return Report(job, outcome)
        if outcome is not None:
            return Report(job, outcome) if self._explained(job, state, now) else None
        if state is not None and state.state == UNCLEAR:
            return None  # nobody has said anything: the grace period does not run on
        job.state = state or job.state
        verdict = job.watch.judge(state, now, self._grace_s)
        if verdict is Verdict.ACTIVE:
            return None
        return Report(job, _outcome(job), verdict)  # the result may have come while the scheduler was asked

    def _explained(self, job: Submission, state: JobState | None, now: float) -> bool:
        # The job says that it failed; the scheduler may soon know why (out of memory, cancelled, ...).
        if state is not None and state.state != UNCLEAR:
            job.state = state
        if job.failed_at is None:
            job.failed_at = now
        return (state is not None and state.state in FAILURES) or now - job.failed_at >= _REASON_S


def _outcome(job: Submission) -> Outcome | None:
    return read_outcome(job.result, job.entry.token, job.entry.born)
