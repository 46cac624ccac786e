"""What runs on the node: one Snakemake job as a picklable callable that survives time limit and preemption.

Contract with the program inside a rule: it may get SIGUSR2, which means "save your work and exit"; after a
requeue it is started again with SNAKEMAKE_SUBMITIT_RESTARTS > 0 and may resume. Snakemake deletes a rule's
outputs at every start, so such saved work must live elsewhere.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from . import claims
from .attempts import keep_earlier_logs
from .child import Child
from .gpus import gpu_state

# Slurm may signal up to a minute early, and this process started a little after the job did.
_EARLY_S = 75.0
_TERM_S = 5.0
_INTERRUPT_S = 0.4  # submitit's local controller kills this process one second after its SIGINT


class JobFailed(RuntimeError):
    """The job's command ended with an error."""


class TimeLimitReached(RuntimeError):
    """The job ran into its time limit more often than allowed."""


class _FinishedWhileSaving(BaseException):
    """The command succeeded after the signal came: no requeue is needed. Raised out of a signal handler."""


@dataclasses.dataclass
class SnakemakeCommand:
    """One job; holds no secrets, because its pickle stays on the shared file system.

    command: shell text; cwd: folder to run it in; label: name for messages.
    token: marks everything that belongs to this submission; claim: file that decides whether it may run.
    logs: the rule's log files, saved from deletion when the job runs again; attempt: Snakemake's count.
    limit_s: time limit; signal_delay_s: how long before it SIGUSR2 comes; max_timeouts: allowed time-outs.
    env: variables to set for the command (nothing secret); gpus: how many the job asked for.
    restarts, timeouts: what happened so far.
    """

    command: str
    cwd: str
    label: str
    token: str
    claim: str
    logs: tuple[str, ...] = ()
    attempt: int = 1
    limit_s: float = 3600.0
    signal_delay_s: float = 90.0
    max_timeouts: int = 3
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    gpus: int = 0
    restarts: int = 0
    timeouts: int = 0

    def __post_init__(self) -> None:
        self._child: Child | None = None
        self._started = time.monotonic()
        self._terminated = False

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    def __call__(self) -> dict[str, Any]:
        """Run the command; returns facts about the run. Raises JobFailed if it exits non-zero."""
        self._started = time.monotonic()
        job_id = scheduler_job_id()
        claim = claims.start_work(Path(self.claim), job_id)
        # Slurm's own count also sees preemptions that killed the job without a warning.
        self.restarts = max(self.restarts, int(os.environ.get("SLURM_RESTART_COUNT") or 0))
        if self.restarts or self.attempt > 1:
            keep_earlier_logs(self.cwd, self.logs)
        gpus = f"GPU {self._environment().get('CUDA_VISIBLE_DEVICES', 'none')}, " if self.gpus else ""
        self._say(f"job {job_id} on {claim.host}, {gpus}restart {self.restarts}, time-outs {self.timeouts}")
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._child = Child(self.command, self.cwd, self._environment())
        try:
            claims.replace(Path(self.claim), dataclasses.replace(claim, session=self._child.pid))
            status = self._child.wait()
        except _FinishedWhileSaving:
            status = 0
        except BaseException:
            self._child.stop(_INTERRUPT_S)
            raise
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # too late to matter; the result must be written now
        return self._finish(int(status or 0), claim)

    def checkpoint(self) -> Any:
        """submitit calls this on SIGUSR2: let the command save, end it, and hand back what to requeue.

        Raises TimeLimitReached after more than max_timeouts time-outs.
        """
        from submitit.core.utils import DelayedSubmission  # loaded long ago in a job, unlike submitit.helpers

        for number in (signal.SIGUSR2, signal.SIGTERM):  # Slurm may send more while this one is dealt with
            signal.signal(number, signal.SIG_IGN)
        timed_out = time.monotonic() - self._started >= self.limit_s - self.signal_delay_s - _EARLY_S
        self._say(f"signalled because of {'the time limit' if timed_out else 'preemption'}: saving")
        if self._child is not None:
            self._child.signal(signal.SIGUSR2)
            status = self._child.wait(self._saving_time_s())
            if status == 0:
                raise _FinishedWhileSaving
            self._child.stop(_TERM_S)
        timeouts = self.timeouts + int(timed_out)
        if timeouts > self.max_timeouts:
            raise TimeLimitReached(
                f"{self.label}: time limit of {self.limit_s / 60:.0f} min reached {timeouts} times, "
                f"{self.max_timeouts} allowed (submission {self.token})"
            )
        return DelayedSubmission(dataclasses.replace(self, restarts=self.restarts + 1, timeouts=timeouts))

    def _saving_time_s(self) -> float:
        return max(1.0, min(self.signal_delay_s * 0.7, self.signal_delay_s - 20.0))

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.env, "SNAKEMAKE_SUBMITIT_RESTARTS": str(self.restarts)}

    def _finish(self, status: int, claim: claims.Claim) -> dict[str, Any]:
        if status and self._terminated:
            self._await_end()
        if status:
            how = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
            gpus = f", {gpu_state(self._environment())}" if self.gpus else ""
            raise JobFailed(f"{self.label} {how} on {claim.host}{gpus} (submission {self.token})")
        return {
            "token": self.token,
            "job_id": claim.job_id,
            "host": claim.host,
            "seconds": time.monotonic() - self._started,
            "restarts": self.restarts,
            "timeouts": self.timeouts,
        }

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        # Slurm is preempting or cancelling. Which of the two is for Slurm to say, so no result is written.
        if os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
            raise JobFailed(f"{self.label} was terminated (submission {self.token})")
        self._terminated = True
        self._say("got SIGTERM: the command may save its work")
        if self._child is not None:
            self._child.signal(signal.SIGUSR2)

    def _await_end(self) -> None:
        # A failed result file would hide from the head that the job was cancelled, or is to be requeued.
        self._say("the command ended after SIGTERM: waiting for Slurm to end this job")
        time.sleep(600)

    def _say(self, text: str) -> None:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        print(f"[submitit] {now} {self.label}: {text}", file=sys.stderr, flush=True)


def scheduler_job_id() -> str:
    """Id of the job that this process runs in, `<array>_<task>` for arrays; "none" outside of submitit."""
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return "none"
    from submitit import JobEnvironment

    return str(JobEnvironment().job_id)
