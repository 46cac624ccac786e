"""How submissions are cut into arrays, and what to do when the scheduler refuses one. Pure functions."""

from __future__ import annotations

import enum
import itertools
import json
import random
import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

_TRANSIENT = re.compile(
    r"socket timed out|unable to contact slurm|temporarily unable|resource temporarily unavailable"
    r"|connection (refused|reset|timed out)|communication connection failure|zero bytes were transmitted"
    r"|transport endpoint|controller in standby|backup controller|slurmctld .*not responding"
    r"|unexpected message received|i/o error writing script|timed out after"
    r"|no space left on device|disk quota exceeded",
    re.IGNORECASE,
)
_LIMIT = re.compile(r"job submit limit|maximum number of jobs|too many jobs", re.IGNORECASE)
# Slurm names the limit on a line of its own; the general text about submit limits follows all of them.
_NAMED = re.compile(r"\b(?:QOS|Assoc)\w+")


def new_mark() -> str:
    """A unique comment for one submission."""
    return f"snakemake-{uuid.uuid4().hex[:12]}"


def is_mark(comment: str) -> bool:
    """Whether a comment is a mark of this plugin."""
    return re.fullmatch(r"snakemake-[0-9a-f]{12}", comment) is not None


def token_of(mark: str, index: int) -> str:
    """Token of one job of a submission with the mark."""
    return f"{mark}-{index}"


def mark_of(token: str) -> str:
    """Mark of the submission that a token belongs to."""
    return token.rpartition("-")[0]


class Refusal(enum.Enum):
    """TRANSIENT: try again. LIMIT: too many jobs are queued; try fewer, later. PERMANENT: give up."""

    TRANSIENT = "transient"
    LIMIT = "limit"
    PERMANENT = "permanent"


class SubmissionError(RuntimeError):
    """The scheduler did not take a submission; the text is what it said."""


def buckets(tasks: Iterable[T], parameters: Callable[[T], dict[str, Any]]) -> list[list[T]]:
    """Tasks with equal parameters together, whatever their rule; order is kept."""
    groups: dict[str, list[T]] = {}
    for task in tasks:
        groups.setdefault(json.dumps(parameters(task), sort_keys=True), []).append(task)
    return list(groups.values())


def chunks(tasks: Sequence[T], size: int) -> list[Sequence[T]]:
    """Cut into pieces of at most `size` tasks, of nearly equal length (no array of one at the end)."""
    count = -(-len(tasks) // max(1, size))
    bounds = [round(i * len(tasks) / count) for i in range(count + 1)] if count else []
    return [tasks[start:end] for start, end in itertools.pairwise(bounds)]


def classify(message: str) -> Refusal:
    """What kind of refusal sbatch's error text describes."""
    named = _NAMED.findall(message)
    if any("Submit" in name or "MaxJobs" in name for name in named):
        return Refusal.LIMIT
    if named:
        return Refusal.PERMANENT
    if _LIMIT.search(message):
        return Refusal.LIMIT
    return Refusal.TRANSIENT if _TRANSIENT.search(message) else Refusal.PERMANENT


def backoff_s(failures: int, jitter: Callable[[], float] = random.random) -> float:
    """Seconds to wait after the n-th failure in a row (n from 1): 2, 4, 8 ... at most 60, +-20 %."""
    return min(60.0, 2.0 ** min(failures, 10)) * (0.8 + 0.4 * jitter())
