"""Two sets of answers to the same questions: difference, exact test, and what so many questions can show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from prunegrid.stats.bootstrap import paired_bootstrap
from prunegrid.stats.mcnemar import discordant, mcnemar
from prunegrid.stats.pairing import align
from prunegrid.stats.power import smallest_difference
from prunegrid.tasks import Task, TaskError


class Counted(Protocol):
    """Judged answers with their sufficient statistics."""

    @property
    def judged(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def clusters(self) -> Sequence[str]: ...
    @property
    def counts(self) -> np.ndarray: ...


def compared(task: Task, ours: Counted, theirs: Counted, replicates: int, seed: int) -> dict[str, Any]:
    """{difference: metric -> value, low, high, se, p; mcnemar (0/1 questions); power}. TaskError if not paired."""
    if {row["id"] for row in ours.judged} != {row["id"] for row in theirs.judged}:
        raise TaskError("the two files answer different questions: differences need the same ones")
    try:
        first, second = align(ours.clusters, ours.counts, theirs.clusters, theirs.counts)
    except ValueError as error:
        raise TaskError(str(error)) from error
    found = paired_bootstrap(first, second, task.metric, replicates=replicates, seed=seed)
    main = found[task.primary]
    smallest = smallest_difference(main.se) if math.isfinite(main.se) else None
    factor = 100 if task.unit == "%" else 1
    said = "unknown" if smallest is None else f"{factor * smallest:.2f} ({task.primary}, 80 % power at 5 %)"
    return {
        "difference": {name: interval.to_dict() for name, interval in found.items()},
        "mcnemar": exact(ours.judged, theirs.judged),
        "power": {
            "metric": task.primary,
            "smallest_difference": smallest,
            "n": len(ours.judged),
            "text": said,
        },
    }


def exact(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """McNemar's exact test over questions that are right or wrong; None where the task scores otherwise."""
    key = next((k for k in ("correct", "exact") if ours and k in ours[0]), None)
    if key is None:
        return None
    other = {row["id"]: row[key] for row in theirs}
    b, c = discordant([int(row[key]) for row in ours], [int(other[row["id"]]) for row in ours])
    return {"only_ours": b, "only_theirs": c, "p": mcnemar(b, c)}
