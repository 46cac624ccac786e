"""Stage `compare`: a cell beside its full-token and its blind twin, question by question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from prunegrid.grid.cell import Cell
from prunegrid.run import build
from prunegrid.run.files import read_json, write_json
from prunegrid.stats.bootstrap import paired_bootstrap
from prunegrid.stats.interval import Interval
from prunegrid.stats.pairing import align
from prunegrid.stats.retention import retention

REPLICATES = 2000


def compare(cell: Cell, results: Path, baseline: str | None, blind: str | None) -> None:
    """Write paired.json: difference and retention of the headline metric, with paired intervals."""
    task = build.task(cell)
    own = counts_of(results, cell.id())
    made: dict[str, Any] = {"metric": task.primary, "baseline": None, "blind": None}
    if baseline:
        ours, full = align(*own, *counts_of(results, baseline))
        change = paired_bootstrap(ours, full, task.metric, replicates=REPLICATES)[task.primary]
        kept = retention(ours, full, task.metric, replicates=REPLICATES)[task.primary]
        made["baseline"] = {
            "cell": baseline,
            "delta": change.value,
            "interval": _ends(change),
            "p": change.p,
            "retention": _finite(kept.value),
            "retention_interval": _ends(kept),
        }
        if blind:
            _, floor = align(*own, *counts_of(results, blind))
            over = retention(ours, full, task.metric, floor=floor, replicates=REPLICATES)[task.primary]
            made["blind"] = {
                "cell": blind,
                "retention_over_floor": _finite(over.value),
                "interval": _ends(over),
            }
    write_json(results / "cells" / cell.id() / "paired.json", made)


def counts_of(results: Path, cell: str) -> tuple[list[str], np.ndarray]:
    """Cluster names and sufficient statistics of a scored cell."""
    made = read_json(results / "cells" / cell / "counts.json", f"run `prunegrid rerun {cell}`")
    return made["clusters"], np.asarray(made["counts"], dtype=np.float64)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _ends(interval: Interval) -> list[float | None]:
    return [_finite(interval.low), _finite(interval.high)]
