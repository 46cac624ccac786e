"""Scheduler states of jobs, and what follows from them. Pure: no scheduler is asked here."""

from __future__ import annotations

import enum
from dataclasses import dataclass

# States that a job does not leave, without success.
FAILURES = frozenset(
    {"FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE", "LAUNCH_FAILED"}
)
# States that may be the end or the way to a requeue.
PASSING = frozenset({"COMPLETED", "PREEMPTED", "REVOKED"})
# Reasons to wait that only a person can end.
STUCK = frozenset(
    {
        *("JobHeldUser", "JobHeldAdmin", "BadConstraints", "PartitionDown", "PartitionInactive"),
        *("PartitionNodeLimit", "PartitionTimeLimit", "ReqNodeNotAvail", "DependencyNeverSatisfied"),
        *("AccountNotAllowed", "QOSNotAllowed", "InvalidAccount", "InvalidQOS", "MaxMemPerLimit"),
        *("launch_failed_requeued_held", "job_requeued_in_held_state"),
    }
)
UNCLEAR = "UNCLEAR"  # ours: somebody who might know the job could not be asked


@dataclass(frozen=True)
class JobState:
    """What the scheduler says of a job. exit_code: `status:signal`; by: user id of who cancelled it;
    mark: the job's comment, by which the plugin knows its own jobs.
    """

    state: str
    reason: str = ""
    exit_code: str = ""
    node: str = ""
    by: str = ""
    mark: str = ""

    @property
    def stuck(self) -> bool:
        """Whether the job waits for something that time alone will not bring."""
        return self.state == "PENDING" and self.reason in STUCK

    @property
    def alive(self) -> bool:
        """Whether the job runs, waits, or may do so again."""
        return self.state not in FAILURES and self.state not in PASSING


@dataclass(frozen=True)
class Question:
    """A job that is asked about. submitted: seconds since 1970; mark: comment of its submission."""

    submitted: float
    mark: str = ""


class Verdict(enum.Enum):
    """ACTIVE: keep watching. FAILED: ended without success. LOST: nobody has known the job for too long."""

    ACTIVE = "active"
    FAILED = "failed"
    LOST = "lost"


@dataclass
class Watch:
    """Memory between polling rounds about one job without a result file; times in seconds."""

    bad_rounds: int = 0
    odd_since: float | None = None

    def judge(self, state: JobState | None, now: float, grace: float) -> Verdict:
        """Verdict on a job without a result; state is None if no source knows the job.

        A failure must be seen in two rounds, because node failure and preemption show up as one just before
        Slurm requeues the job, and because a result file may become visible late. A job that is unknown, or
        complete without a result, is given up after the grace period.
        """
        if state is not None and state.state in FAILURES:
            self.bad_rounds += 1
            self.odd_since = None
            return Verdict.FAILED if self.bad_rounds >= 2 else Verdict.ACTIVE
        self.bad_rounds = 0
        if state is not None and state.alive:
            self.odd_since = None
            return Verdict.ACTIVE
        if self.odd_since is None:
            self.odd_since = now
        if now - self.odd_since < grace:
            return Verdict.ACTIVE
        return Verdict.LOST if state is None else Verdict.FAILED
