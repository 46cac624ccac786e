"""Stage `cost`: a cell's token counts and analytic FLOPs from its trace. No GPU, no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prunegrid.cost import BITS, Bits, TokenSchedule, equivalent_tokens, flops, kv_bytes
from prunegrid.grid.cell import Cell
from prunegrid.run import weights
from prunegrid.run.files import Files, entering, file_hash, read_finished, write_json
from prunegrid.run.kept import kept_patches
from prunegrid.shape import ModelShape

CONVENTION = "exact"
PARTS = ("vision", "projector", "prefill", "decode")


def cost(cell: Cell, results: Path, root: Path, code: str = "unknown") -> None:
    """Write cost.json of a cell: visual tokens entering the LLM, equivalent tokens, mean FLOPs per sample by part, bytes
    of its KV cache when its answer ends, at the model's dtype; and kept.json, which tokens these are.

    FLOPs count the ViT layers that LLaVA needs (transformers runs the unused last ones too) and the reducer's own work
    as the trace has it; null where the method does not state it, or an older prediction did not ask: then the total is
    without it. `code`: hash of what counts.
    """
    files = Files.of(results, cell)
    rows = read_finished(files.prediction, "trace.jsonl", f"run `prunegrid rerun {files.cell_id}`")
    shape = ModelShape.from_config(weights.config(cell, root))
    schedule = schedule_of(rows, shape)
    parts = {part: flops(shape, schedule, CONVENTION, part) / len(rows) for part in PARTS}
    own = reducer_flops(rows)
    total = sum(parts.values()) + (own or 0)
    visual = [entering(row) for row in rows]
    full = _full(rows, shape)
    bits = Bits.of(BITS[cell.model["dtype"]])
    kept, whole = (kv_bytes(shape, each, bits) for each in (schedule, full))
    made: dict[str, Any] = {
        "convention": CONVENTION,
        "tokens": {
            "mean": sum(visual) / len(visual),  # that enter the language model
            "min": min(visual),
            "max": max(visual),
            "projected": sum(r["projector"] for r in rows) / len(rows),
        },
        "equivalent_tokens": sum(_equivalent(shape, r) for r in rows) / len(rows),
        "flops": {
            "vision": parts["vision"],
            "reducer": own,
            "projector": parts["projector"],
            "llm_prefill": parts["prefill"],
            "llm_decode": parts["decode"],
            "total": total,
        },
        "relative_flops": total / (_flops(full, shape) / len(rows)),
        "kv_bytes": kept / len(rows),
        "relative_kv": kept / whole,
        "trace_hash": file_hash(files.trace),
        "code": code,
    }
    write_json(files.cell / "cost.json", made)
    kept_patches(cell, files, rows, root)


def reducer_flops(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Mean over samples of the reducer's own; None unless every row has it."""
    known = [row["reducer_flops"] for row in rows if row.get("reducer_flops") is not None]
    return sum(known) / len(known) if known and len(known) == len(rows) else None


def schedule_of(rows: list[dict[str, Any]], shape: ModelShape) -> TokenSchedule:
    """A row's cache counts the steps of its whole batch; a sample's own steps end with its answer."""
    new = [row["new_tokens"] for row in rows]
    prompt = [row["prompt"] for row in rows]
    trace: dict[str, Any] = {
        "embedded": [row["embedded"] for row in rows],
        "vision": [row["vision"][: shape.vision.selected] for row in rows],
        "vision_mlp": [(row.get("vision_mlp") or row["vision"])[: shape.vision.selected] for row in rows],
        "projector": [row["projector"] for row in rows],
        "prompt": prompt,
        "new_tokens": new,
    }
    if all(row.get("cache") for row in rows):
        trace["held"] = [row.get("held") or row["prompt"] for row in rows]
        trace["cache"] = [
            [min(last, first + n - 1) for last, first in zip(row["cache"], held, strict=True)]
            for row, held, n in zip(rows, trace["held"], new, strict=True)
        ]
    return TokenSchedule.from_trace(trace)


def _equivalent(shape: ModelShape, row: Mapping[str, Any]) -> float:
    """Visual tokens that, kept through all LLM layers, would cost the same prefill."""
    text = row["prompt"][0] - row["visual"][0]
    return equivalent_tokens(shape, row["prompt"], CONVENTION) - text


def _full(rows: list[dict[str, Any]], shape: ModelShape) -> TokenSchedule:
    """The same prompts and answer lengths with all tokens."""
    full = [
        {
            "embedded": shape.vision.patches,
            "vision": [shape.vision.tokens] * shape.vision.layers,
            "projector": shape.visual_tokens,
            "prompt": [row["prompt"][0] - row["visual"][0] + shape.visual_tokens] * shape.llm.layers,
            "new_tokens": row["new_tokens"],
        }
        for row in rows
    ]
    return schedule_of(full, shape)


def _flops(schedule: TokenSchedule, shape: ModelShape) -> float:
    return sum(flops(shape, schedule, CONVENTION, part) for part in PARTS)
