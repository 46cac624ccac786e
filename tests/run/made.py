"""Finished predictions made by hand: what `predict` leaves behind, with answers of the test's choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grid.project import Project
from prunegrid.grid.cell import Cell
from prunegrid.run import build
from prunegrid.run.files import Files, write_json, write_jsonl
from prunegrid.tasks import Sample

from .lab import LAYERS, SIDE

Say = Callable[[Sample], str]
PATCHES = SIDE * SIDE


def right(sample: Sample) -> str:
    return str(sample.answer)


def yes(sample: Sample) -> str:
    return "yes"


def trace(kept: int, text: int = 10, new: int = 2) -> dict[str, Any]:
    """Of one sample: `kept` visual tokens behind the ViT, `text` others, `new` generated."""
    return {
        "embedded": PATCHES,
        "vision": [PATCHES + 1] * LAYERS,
        "projector": kept,
        "prompt": [kept + text] * LAYERS,
        "visual": [kept] * LAYERS,
        "cache": [kept + text + new - 1] * LAYERS,
        "new_tokens": new,
        "kept": {"features": list(range(kept))},
    }


def finish(project: Project, cell: Cell, say: Say, kept: Callable[[int], int] = lambda n: PATCHES) -> Files:
    """Write records, trace and provenance; sample n keeps `kept(n)` tokens."""
    files = Files.of(project.results, cell)
    samples = list(build.task(cell).samples(project.root / cell.task["data"]))
    records = [s.record(say(s)).to_dict() | {"new_tokens": 2} for s in samples]
    write_jsonl(files.records, records)
    write_jsonl(files.trace, [{"id": s.id, **trace(kept(n))} for n, s in enumerate(samples)])
    write_json(
        files.provenance,
        {
            "cell": cell.to_dict(),
            "code": "code",
            "samples": len(samples),
            "data": dict(cell.data),
            "seed": cell.seed,
        },
    )
    return files
