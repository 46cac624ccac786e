"""Why a job failed, in words a user can act on. Pure, apart from reading the end of a log."""

from __future__ import annotations

import re
from pathlib import Path

from .results import Outcome
from .states import FAILURES, JobState, Verdict
from .tasks import Submission

_HINTS = {
    "OUT_OF_MEMORY": "the job used more memory than it asked for: raise mem_mb",
    "TIMEOUT": "the job ran into its time limit: raise runtime, or have the program save on SIGUSR2",
    "NODE_FAIL": "the node failed; nothing is known against the job itself, run it again",
    "BOOT_FAIL": "the node did not boot; nothing is known against the job itself, run it again",
    "DEADLINE": "the job could not have ended before its deadline",
    "PREEMPTED": "a job with higher priority took the node, and this partition does not requeue",
    "LAUNCH_FAILED": "the job could not be started on its node",
    "CANCELLED": "somebody cancelled it, or a limit of the site did; nothing is known against the job itself",
}
_KILLED = re.compile(r"exit (?:code|status) (?:137|-9)|SIGKILL|signal 9\b|\bKilled\b|oom-kill", re.IGNORECASE)
_TAIL_BYTES = 64 * 1024
_TAIL_LINES = 20
_START = re.compile(r"submitit INFO .*Starting with")
_TRACEBACK = re.compile(r"submitit ERROR .*triggered an exception")


def describe(
    submission: Submission, verdict: Verdict, outcome: Outcome | None, host: str, memory_mb: int | None
) -> str:
    """The message for a failed or lost job.

    outcome: the job's own account of its failure, if it left one; host: where it ran, "" if not known;
    memory_mb: what it had asked for.
    """
    entry, state = submission.entry, submission.state
    tail = read_tail(submission.log)
    host = host or (state.node if state is not None else "")
    what = _what(state, verdict, outcome is not None)
    lines = [f"{entry.cluster} job {entry.job_id} ({entry.name}) {what}{f' on {host}' if host else ''}"]
    if outcome is not None:
        lines.append(f"error: {outcome.summary}")
    if state is not None and state.reason:
        lines.append(f"reason: {state.reason}")
    hint = _own_hint(outcome) or _hint(state, verdict, tail, memory_mb)
    if not hint and outcome is None and _never_began(state, tail):
        hint = (
            "the job's script failed before its command began: see --submitit-setup, and what this node lacks"
        )
    if hint:
        lines.append(f"hint: {hint}")
    lines.append(f"log: {submission.log}")
    lines += [f"  | {line}" for line in tail] or ["  | (the log is empty or missing)"]
    return "\n".join(lines) + "\n"


def read_tail(log: Path, lines: int = _TAIL_LINES) -> list[str]:
    """The last lines of a log before submitit's own traceback, [] if it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    # a progress bar rewrites its line after a carriage return: show what a terminal would
    shown = (line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n"))
    return _without_traceback([line for line in shown if line])[-lines:]


def _without_traceback(lines: list[str]) -> list[str]:
    # The traceback shows only how submitit called the command; it comes last in the last attempt's part.
    starts = [index for index, line in enumerate(lines) if _START.match(line)]
    start = starts[-1] if starts else 0
    ends = [index for index in range(start, len(lines)) if _TRACEBACK.match(lines[index])]
    return lines[: ends[0]] if ends else lines


def _what(state: JobState | None, verdict: Verdict, spoke: bool) -> str:
    if verdict is Verdict.LOST:
        return "is lost: the scheduler does not know it and there is no result"
    if state is None or (spoke and state.state not in FAILURES):
        return "failed"
    if state.state == "COMPLETED":
        return "ended, but left no result"
    named = "" if state.state == "FAILED" else f": {state.state}"
    by = f" by user {state.by}" if state.by else ""
    code = f", exit code {state.exit_code}" if state.exit_code not in ("", "0:0") else ""
    return f"failed{named}{by}{code}"


def _own_hint(outcome: Outcome | None) -> str:
    if outcome is not None and outcome.summary.startswith("TimeLimitReached"):
        return (
            "raise runtime; a program that saves on SIGUSR2 can go on with a higher --submitit-max-timeouts"
        )
    return ""


def _never_began(state: JobState | None, tail: list[str]) -> bool:
    failed = state is not None and state.state == "FAILED"
    return failed and len(tail) < _TAIL_LINES and not any(_START.match(line) for line in tail)


def _hint(state: JobState | None, verdict: Verdict, tail: list[str], memory_mb: int | None) -> str:
    if state is not None and state.state in _HINTS:
        return _HINTS[state.state]
    killed = state is not None and (state.exit_code.endswith(":9") or state.exit_code.startswith("137:"))
    if killed or any(_KILLED.search(line) for line in tail):
        asked = f" (mem_mb={memory_mb} was asked for)" if memory_mb else ""
        return f"a process was killed with SIGKILL, often because memory ran out{asked}: try a higher mem_mb"
    if verdict is Verdict.LOST:
        return (
            "if the scheduler was restarted, or forgets finished jobs soon, poll more often or use accounting"
        )
    return ""
