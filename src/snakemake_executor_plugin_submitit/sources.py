"""Who is asked about jobs: sacct, squeue, scontrol; one query per round unless jobs are missing from it."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping, Sequence

from .clients import Answer, call
from .states import UNCLEAR, JobState, Question
from .status import SACCT_FIELDS, SQUEUE_FORMAT, parse_sacct, parse_scontrol, parse_squeue
from .submit import is_mark

_NO_ACCOUNTING = ("accounting storage is disabled", "accounting_storage/none", "[Errno 2]")
_SETTLE_S = 15.0  # accounting may learn of a new job this much later


class Sources:
    """Asks one source for all jobs, and the others for those that it does not know."""

    def __init__(self, choice: str, run: Callable[[Sequence[str]], Answer] = call) -> None:
        """choice: auto, sacct, squeue or scontrol; run: calls a program (replaced in tests)."""
        self._run = run
        self._usable = ["sacct", "squeue", "scontrol"] if choice == "auto" else [choice]
        self.last_error = ""
        self.queries = 0

    def states(self, jobs: Mapping[str, Question], now: float) -> dict[str, JobState]:
        """State of each job that any source knows; a job that all usable sources deny is left out.

        A job that somebody might know who could not be asked is UNCLEAR. What is said of another submission
        with the same id is left out: ids start again when a controller is reset. A source that says that it
        does not exist here (no accounting) is not asked again.
        """
        known: dict[str, JobState] = {}
        unclear = False
        for source in list(self._usable):
            missing = {job_id: asked for job_id, asked in jobs.items() if job_id not in known}
            if not missing:
                break
            if known and all(now - asked.submitted < _SETTLE_S for asked in missing.values()):
                return {**known, **dict.fromkeys(missing, JobState("PENDING"))}
            found = self._ask(source, missing)
            if found is None:
                unclear = unclear or source in self._usable
            else:
                known.update(
                    {i: state for i, state in found.items() if i in missing and _same(state, missing[i])}
                )
        if unclear or not self._usable:
            nothing_said = JobState(UNCLEAR, self.last_error)
            return {**dict.fromkeys(jobs, nothing_said), **known}
        return known

    def _ask(self, source: str, jobs: Mapping[str, Question]) -> dict[str, JobState] | None:
        self.queries += 1
        answer = self._run(query(source, jobs))
        if answer.ok:
            if source == "sacct":
                return parse_sacct(answer.out, jobs)
            return parse_squeue(answer.out) if source == "squeue" else parse_scontrol(answer.out)
        if "Invalid job id" in answer.err and source != "sacct":
            return {}  # squeue and scontrol say so when they know none of the ids
        self.last_error = f"{source}: {answer.err.strip()}"
        if any(text in answer.err for text in _NO_ACCOUNTING) and len(self._usable) > 1:
            self._usable.remove(source)
        return None


def _same(state: JobState, asked: Question) -> bool:
    # Sites may put a comment of their own in place of the mark: only another mark proves another job.
    return state.mark == asked.mark or not is_mark(state.mark)


def query(source: str, jobs: Mapping[str, Question]) -> list[str]:
    """The command that asks a source for these jobs."""
    bases = ",".join(sorted({job_id.split("_")[0] for job_id in jobs}, key=int))
    if source == "sacct":
        return ["sacct", "-X", "-n", "-P", "-o", SACCT_FIELDS, "-j", bases]
    if source == "squeue":
        return ["squeue", "-h", "--states=all", "-u", getpass.getuser(), "-o", SQUEUE_FORMAT, "-j", bases]
    return ["scontrol", "-o", "show", "job"]  # scontrol takes one id or all
