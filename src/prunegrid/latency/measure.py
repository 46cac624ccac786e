"""Repeated, warmed-up measurements of one reduced model at one batch size and answer length."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from prunegrid.latency.clock import Clock, clock_of
from prunegrid.latency.phases import PHASES, Watch, peaks, seconds
from prunegrid.reduce import ReducedVLM, Trace

Prepare = Callable[[int], Mapping[str, Any]]  # number of the repeat -> {"inputs": ..., "ids": ...}


def measure(
    host: ReducedVLM,
    prepare: Prepare,
    new_tokens: int = 64,
    repeats: int = 50,
    warmup: int = 5,
    tick: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Any], list[Trace]]:
    """Time `repeats` calls of exactly `new_tokens` tokens after `warmup` unmeasured ones.

    prepare(i): the inputs of call i as `ReducedVLM.generate` takes them, and the ids; its time is the phase
    `preprocess` (reading, resizing, tokenising and moving to the device). Returns ({phase: spread in seconds of
    one call, first: to the first token, total, step: one decode step, memory: peak bytes by phase}, traces of the
    measured calls). Memory comes from a further call. Raises ValueError for fewer than one repeat or new token.
    """
    if repeats < 1 or new_tokens < 1 or warmup < 0:
        raise ValueError(
            f"repeats={repeats}, new_tokens={new_tokens}: at least 1; warmup={warmup}: at least 0"
        )
    device = next(host.model.parameters()).device
    clock = clock_of(device)
    rows: list[dict[str, Any]] = []
    traces: list[Trace] = []
    with Watch(host, clock) as watch:
        for i in range(-warmup, repeats):
            row, trace = _once(host, watch, clock, prepare, max(i, 0), new_tokens)
            if i >= 0:
                rows.append(row)
                traces.append(trace)
            tick()
    made: dict[str, Any] = {
        phase: spread([sum(row[phase]) for row in rows]) for phase in (*PHASES, "first", "total")
    }
    steps = [s for row in rows for s in row["decode"]]
    made["step"] = spread(steps) if steps else None
    return {**made, "memory": _memory(host, clock, prepare, new_tokens)}, traces


def _once(
    host: ReducedVLM, watch: Watch, clock: Clock, prepare: Prepare, i: int, new: int
) -> tuple[dict[str, list[float]], Trace]:
    watch.clear()
    clock.settle()
    begin = clock.mark()
    with watch.phase("preprocess"):
        given = prepare(i)
    trace = _answer(host, given, new)
    end = clock.mark()
    clock.settle()
    row: dict[str, list[float]] = {phase: [] for phase in PHASES} | seconds(watch.spans, clock)
    total = clock.seconds(begin, end)
    row["other"] = [total - sum(sum(values) for values in row.values())]
    return row | {"total": [total], "first": [clock.seconds(begin, watch.prefilled)]}, trace


def _answer(host: ReducedVLM, given: Mapping[str, Any], new: int) -> Trace:
    """Greedy, never stopping early: every method says as many words."""
    tokens: Tensor
    tokens, trace = host.generate(
        given["inputs"],
        ids=given["ids"],
        prompt=given.get("prompt", ()),
        max_new_tokens=new,
        min_new_tokens=new,
        do_sample=False,
    )
    if tokens.shape[1] != new:
        raise RuntimeError(f"{tokens.shape[1]} tokens were said, not {new}: the times would not compare")
    return trace


def _memory(host: ReducedVLM, clock: Clock, prepare: Prepare, new: int) -> dict[str, int] | None:
    """Peak bytes by phase, the model's weights included; None where the device keeps no such count."""
    if clock.peak() is None:
        return None
    with Watch(host, clock, memory=True) as watch:
        _answer(host, prepare(0), new)
    torch.cuda.synchronize()
    return peaks(watch.spans)


def spread(values: Sequence[float]) -> dict[str, float]:
    """median, p10, p90, least; of one value all are that value."""
    ordered = sorted(values)

    def at(q: float) -> float:
        place = q * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    return {"median": statistics.median(ordered), "p10": at(0.1), "p90": at(0.9), "least": ordered[0]}
