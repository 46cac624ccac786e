"""Writes result folders as the workflow's stages do, with made-up numbers, for tests of what reads them."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from PIL import Image, ImageDraw

SIDE = 12
PATCHES = SIDE * SIDE

# row label -> (reducer name, budget or None for a count of its own, seeds)
ROWS: dict[str, tuple[str, int | None, int]] = {
    "none": ("none", PATCHES, 1),
    "blind": ("blind", 0, 1),
    "random keep=36": ("random", 36, 3),
    "topk_cls keep=36": ("topk_cls", 36, 1),
    "prumerge select=iqr merge=False": ("prumerge", None, 1),
    "prumerge select=iqr merge=True": ("prumerge", None, 1),
}
COLUMNS = ("mini_pope", "mini_vqa")


def write_study(
    root: Path,
    name: str = "demo",
    *,
    model: str = "mini",
    rows: Mapping[str, tuple[str, int | None, int]] | None = None,
    columns: Sequence[str] = COLUMNS,
    samples: int = 24,
    missing: Collection[tuple[str, str]] = (),
    failed: Collection[tuple[str, str]] = (),
    published: Mapping[tuple[str, str], float] | None = None,
    support: Collection[str] = (),
    head: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Write plan and results of every (row, column) but the `missing`; returns the planned cells.

    Rows in `support` are compared with and not shown. `head` joins the head of the plan.
    """
    rows = ROWS if rows is None else rows
    cells = []
    for column in columns:
        for row, (reducer, budget, seeds) in rows.items():
            for seed in range(seeds):
                cells.append(_planned(model, row, reducer, budget, column, seed))
                cells[-1]["published"] = (published or {}).get((row, column))
                cells[-1]["support"] = row in support
    top = {"study": name, "title": "Sampling at equal budgets", "source": "arXiv:2403.15388 Table 4"}
    layout = {"layout": {"rows": "reducer", "columns": "task"}, "axes": {}}
    dump(root / "plan" / f"{name}.json", {**top, **layout, **(head or {}), "cells": cells})
    for cell in cells:
        write_config(root, cell)
        place = (cell["row"], cell["column"])
        if place in failed:
            write_failure(root, cell)
        elif place not in missing:
            write_cell(root, cell, samples=samples)
    return cells


def _planned(
    model: str, row: str, reducer: str, budget: int | None, column: str, seed: int
) -> dict[str, Any]:
    code = hashlib.sha256(f"{model}{row}{column}{seed}".encode()).hexdigest()[:8]
    task = {"name": column, "data": "data/scenes", "prompt": "{question}"}
    return {
        "id": f"{model}-{reducer}-{column}-{code}",
        "prediction": f"{model}-{reducer}-{column}-p{code}",
        "row": row,
        "column": column,
        "seed": seed,
        "baseline": None if reducer == "none" else f"{model}-none-{column}",
        "blind": None if reducer in ("none", "blind") else f"{model}-blind-{column}",
        "published": None,
        "model": model,
        "reducer": {"name": reducer, **({"keep": budget} if budget else {})},
        "task": task,
        "tuning": None,
    }


def write_config(root: Path, cell: Mapping[str, Any]) -> None:
    """The resolved cell.yaml."""
    config = {
        "model": {"name": cell["model"], "side": SIDE, "dtype": "bfloat16"},
        "reducer": {"_target_": f"prunegrid.reduce.methods.{cell['reducer']['name']}", **cell["reducer"]},
        "task": cell["task"],
        "tuning": None,
        "decoding": {"max_new_tokens": 4, "num_beams": 1},
        "seed": cell["seed"],
    }
    file = root / "cells" / cell["id"] / "cell.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(config), encoding="utf-8")


def write_cell(root: Path, cell: Mapping[str, Any], *, samples: int = 24, shift: float = 0.0) -> None:
    """Everything that predict, score and cost write; another `shift` gives another score and result hash."""
    rng = random.Random(f"{cell['id']}{shift}")
    reducer, budget = cell["reducer"]["name"], cell["reducer"].get("keep")
    traces = [_trace(i, reducer, budget, "merge=True" in cell["row"], rng) for i in range(samples)]
    prediction = root / "predictions" / cell["prediction"]
    lines(prediction / "trace.jsonl", traces)
    lines(prediction / "records.jsonl", [_record(i, cell["column"], rng) for i in range(samples)])
    dump(prediction / "provenance.json", _provenance(cell, samples))
    dump(prediction / "timing.json", {"seconds": 12.5, "asked": samples})
    folder = root / "cells" / cell["id"]
    counts = [trace["visual"][0] for trace in traces]
    tokens = {"mean": sum(counts) / samples, "min": min(counts), "max": max(counts)}
    full = {"none": 0.84, "blind": 0.52}.get(reducer)
    middle = 0.6 + 0.2 * (tokens["mean"] / PATCHES) ** 0.5 if full is None else full
    value = middle + shift + rng.uniform(0, 0.02)
    write_score(root, cell, value)
    write_paired(root, cell, value, 0.02)
    share = 0.2 + 0.8 * tokens["mean"] / PATCHES
    parts = {"vision": 2e8, "reducer": 0.0, "projector": 1e6, "llm_prefill": 9e8 * share, "llm_decode": 1e7}
    flops = {**parts, "total": sum(parts.values())}
    cost = {"tokens": tokens, "equivalent_tokens": tokens["mean"], "flops": flops, "relative_flops": share,
            "relative_kv": (tokens["mean"] + 22) / (PATCHES + 22)}  # fmt: skip
    dump(folder / "cost.json", cost)


def write_score(root: Path, cell: Mapping[str, Any], value: float) -> None:
    score = {
        "cell": cell["id"], "prediction": cell["prediction"], "task": cell["column"], "task_version": "1",
        "mode": "official", "primary": "f1", "scale": 1.0, "metrics": {"f1": value, "accuracy": value - 0.01},
        "interval": {"f1": [value - 0.03, value + 0.03], "accuracy": [value - 0.04, value + 0.02]},
        "n": 600, "clusters": 500, "strict": {"f1": value - 0.05},
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(score, sort_keys=True).encode()).hexdigest()
    dump(root / "cells" / cell["id"] / "score.json", {**score, "result_hash": digest})


def write_paired(root: Path, cell: Mapping[str, Any], value: float, half: float, **more: float) -> None:
    """The comparison with a full-token score of 0.85 and a blind one of 0.53; `more` joins the baseline's."""
    delta, kept, over = value - 0.85, value / 0.85, (value - 0.53) / 0.32
    baseline = {
        "cell": cell["baseline"], "delta": delta, "interval": [delta - half, delta + half],
        "retention": kept, "retention_interval": [kept - half, kept + half], **more,
    }  # fmt: skip
    floor = {"retention_over_floor": over, "interval": [over - 0.05, over + 0.05]}
    paired = {"baseline": cell["baseline"] and baseline, "blind": cell["blind"] and floor}
    dump(root / "cells" / cell["id"] / "paired.json", paired)


def write_failure(root: Path, cell: Mapping[str, Any], reason: str = "CUDA out of memory") -> None:
    """A prediction that failed."""
    failure = {
        "stage": "predict", "reason": reason, "log": f"results/logs/{cell['prediction']}.log",
        "log_tail": ["Traceback (most recent call last):", f"RuntimeError: {reason}"],
        "rerun": f"snakemake -R results/predictions/{cell['prediction']}/records.jsonl",
    }  # fmt: skip
    dump(root / "predictions" / cell["prediction"] / "failed.json", failure)


def draw_pictures(data: Path, samples: int = 24) -> None:
    """Small scenes where the records say that their pictures are."""
    (data / "images").mkdir(parents=True, exist_ok=True)
    for i in range(samples):
        rng = random.Random(i)
        picture = Image.new("RGB", (96, 96), (235, 228, 214))
        draw = ImageDraw.Draw(picture)
        for colour in ((200, 50, 40), (40, 90, 190), (30, 150, 90)):
            x, y, size = rng.randrange(70), rng.randrange(70), rng.randrange(14, 26)
            draw.ellipse([x, y, x + size, y + size], fill=colour)
        picture.save(data / "images" / f"{i:04}.png")


def _trace(i: int, reducer: str, budget: int | None, merge: bool, rng: random.Random) -> dict[str, Any]:
    if reducer in ("none", "blind"):
        ids = list(range(PATCHES)) if reducer == "none" else []
    else:
        ids = sorted(rng.sample(range(PATCHES), budget or rng.randint(14, 60)))
    ids = [*ids, -1] if merge else ids
    kept = {} if reducer == "none" else {"features": ids}
    n = len(ids)
    return {
        "id": f"q{i}", "embedded": 144, "vision": [145] * 6, "projector": n, "prompt": [n + 20] * 6, "visual": [n] * 6,
        "cache": [n + 22] * 6, "new_tokens": 2, "kept": kept, "notes": {},
    }  # fmt: skip


def _record(i: int, task: str, rng: random.Random) -> dict[str, Any]:
    meta = {"image": f"images/{i:04}.png", "split": "random"}
    text = rng.choice(["yes", "no"])
    return {"id": f"q{i}", "cluster": f"c{i}", "text": text, "answer": "yes", "meta": meta}


def _provenance(cell: Mapping[str, Any], samples: int) -> dict[str, Any]:
    return {
        "versions": {"torch": "2.13.0", "transformers": "5.23.0"}, "hardware": "2 CPU cores",
        "code": "c0de5eed", "data": {"data/scenes": "a" * 32, "data/weights": "b" * 32}, "git": "abc123",
        "model_revision": "r1", "dtype": "bfloat16", "batch_size": 16, "samples": samples,
        "started": "2026-01-02T03:04:05+00:00",
    }  # fmt: skip


def dump(file: Path, value: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value), encoding="utf-8")


def lines(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
