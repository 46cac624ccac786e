"""Stage `latency`: measured time and memory of a cell, beside its FLOPs and a roofline. Belongs to no hash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from prunegrid.cost import BITS, Hardware, TokenSchedule, cost, flops
from prunegrid.grid.cell import Cell
from prunegrid.run import build, tuned, weights
from prunegrid.run.cost import CONVENTION, PARTS, reducer_flops, schedule_of
from prunegrid.run.data import check_unchanged
from prunegrid.run.files import Files, entering, write_json
from prunegrid.run.hardware import of_device
from prunegrid.run.predict import Answerer, budget, code_version
from prunegrid.shape import ModelShape
from prunegrid.tasks import Sample, limit_clusters


def latency(
    cell: Cell,
    results: Path,
    root: Path,
    settings: Mapping[str, Any],
    device: str = "auto",
    name: str = "latency.json",
) -> dict[str, Any]:
    """Write the file `name` of the cell's folder, and return it: one entry per (batch size, new tokens).

    latency.json is the rule's, measured as its study says; it stands on the page.
    settings: batch_sizes, new_tokens (lists), repeats, warmup. The questions are the task's own, taken in turn.
    """
    from prunegrid.latency import kernels, machine, measure

    check_unchanged(root, results, dict(cell.data))
    shape = ModelShape.from_config(weights.config(cell, root))
    samples = limit_clusters(build.task(cell).samples(root / cell.task["data"]), cell.limit)
    answerer = Answerer(cell, root, budget(cell, results), device, tuned.files(cell, results))
    hardware = of_device(root, machine(answerer.device)["name"])
    points = [(b, n) for b in settings["batch_sizes"] for n in settings["new_tokens"]]
    calls = settings["repeats"] + settings["warmup"]
    entries = []
    with tqdm(total=len(points) * calls, desc=f"latency {cell.label}", unit="call") as bar:
        for batch, new in points:
            prepare = Turns(answerer, samples, batch)
            timed, traces = measure(
                answerer.host, prepare, new, settings["repeats"], settings["warmup"], bar.update
            )
            rows = [
                answerer.host.row(trace, k, said) | {"new_tokens": new}
                for i, trace in enumerate(traces)
                for k, said in enumerate(answerer.texts(prepare.picked(i)))
            ]
            entries.append(
                {"batch_size": batch, "new_tokens": new, "repeats": settings["repeats"], "seconds": timed}
                | {"visual_tokens": sum(entering(r) for r in rows) / len(rows)}
                | _modelled(rows, shape, batch, cell.model["dtype"], hardware)
            )
    seen = kernels(lambda: answerer.host.generate(**prepare(0), max_new_tokens=1, do_sample=False))
    made = {
        "cell": cell.id(),
        "machine": machine(answerer.device),
        "dtype": cell.model["dtype"],
        "attention": seen,
        "model_revision": cell.model["revision"],
        "git": code_version(root),
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "points": entries,
    }
    write_json(Files.of(results, cell).cell / name, made)
    return made


class Turns:
    """The inputs of call i: `size` questions, taken in turn from all of them."""

    def __init__(self, answerer: Answerer, samples: Sequence[Sample], size: int) -> None:
        self.answerer, self.samples, self.size = answerer, samples, size

    def picked(self, i: int) -> list[Sample]:
        """The questions of call i."""
        return [self.samples[(i * self.size + k) % len(self.samples)] for k in range(self.size)]

    def __call__(self, i: int) -> dict[str, Any]:
        picked = self.picked(i)
        return {
            "inputs": self.answerer.inputs(picked),
            "ids": [f"{k} {s.id}" for k, s in enumerate(picked)],
            "prompt": self.answerer.texts(picked),
        }


def _modelled(
    rows: list[dict[str, Any]], shape: ModelShape, batch: int, dtype: str, hardware: Hardware | None
) -> dict[str, Any]:
    """FLOPs of one sample by part and, on a known machine, the roofline seconds of one call by part; of the reducer
    null where it does not state its own."""
    schedule, own = schedule_of(rows, shape), reducer_flops(rows)
    counted = {part: flops(shape, schedule, CONVENTION, part) / len(rows) for part in PARTS}
    made: dict[str, Any] = {"flops": {**counted, "reducer": own}, "roofline": None}
    if hardware is not None:
        calls = schedule.batches(batch)
        bounds = [_bound(shape, call, hardware, BITS[dtype], batch * (own or 0)) for call in calls]
        made["roofline"] = {part: sum(b[part] for b in bounds) / len(calls) for part in (*PARTS, "reducer")}
        if own is None:
            made["roofline"]["reducer"] = None
    return made


def _bound(
    shape: ModelShape, call: TokenSchedule, hardware: Hardware, bits: int, own: float
) -> dict[str, float]:
    made = cost(shape, call, hardware, bits, CONVENTION, own)
    return {part: made.seconds(part) for part in (*PARTS, "reducer")}
