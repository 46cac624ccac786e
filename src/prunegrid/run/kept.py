"""What a cell's traces say of its pictures: where the kept patches lie, how token counts are spread, and whether more is
kept where there is more to see. Part of the stage `cost`: CPU, files in, files out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prunegrid.grid.cell import Cell
from prunegrid.grid.scale import rescale
from prunegrid.run.files import Files, ResultError, entering, file_hash, read_finished, read_jsonl, write_json
from prunegrid.stats.arrays import Array
from prunegrid.stats.interval import Interval
from prunegrid.stats.kept import kept
from prunegrid.stats.means import means, overlap, spread
from prunegrid.stats.spearman import spearman

SCENES = "scenes.jsonl"  # beside a task's questions, where pictures are drawn: every thing with its patches
SIDE = 12  # patches per side of the grid that its masks are given in
FLOOR = {"of": 576, "keep": 16}  # fewer tokens are told apart
REPLICATES = 2000


@dataclass(frozen=True)
class Scene:
    """What there is on a picture: masks [SIDE * SIDE], and how many things, a number among them."""

    objects: Array
    text: Array
    things: int


def kept_patches(cell: Cell, files: Files, rows: Sequence[Mapping[str, Any]], root: Path) -> None:
    """Write kept.json of a cell from the rows of its trace. Means are over questions, intervals over their clusters.

    `tokens`: those that enter the language model. `objects` and `represented` only where the task's pictures are drawn
    and the model has the masks' grid: precision, recall and base rate of surviving patches, and of all that are in some
    token where tokens are mixed. `clutter`: rank correlation of tokens and things.
    """
    records = read_finished(files.prediction, "records.jsonl", f"run `prunegrid rerun {files.cell_id}`")
    clusters = [str(record["cluster"]) for record in records]
    counts = [entering(row) for row in rows]
    floor = int(rescale(dict(FLOOR), cell.model, "floor"))
    made: dict[str, Any] = {
        "cell": files.cell_id,
        "prediction": files.prediction_id,
        "trace": file_hash(files.trace),
        "n": len(rows),
        "clusters": len(set(clusters)),
        "tokens": {
            **_shown(spread(counts, clusters, floor, REPLICATES)),
            "min": min(counts),
            "max": max(counts),
            "floor": floor,
        },
    }
    path = root / cell.task["data"] / SCENES
    if path.exists():
        scenes = {str(row["id"]): row for row in read_jsonl(path, "fetch the data again: `dvc pull`")}
        seen = [_scene_of(record, scenes, path) for record in records]
        made["scenes"] = {"file": f"{cell.task['data']}/{SCENES}", "sha256": file_hash(path)}
        made |= _clutter(counts, [s.things for s in seen], clusters)
        made |= _masks(cell, rows, seen, clusters)
    write_json(files.cell / "kept.json", made)


def scene(row: Mapping[str, Any]) -> Scene:
    """A row of scenes.jsonl. A digit belongs to the objects: questions are asked about it too."""
    things, digits = row["thing_patches"], row["digit_patches"]
    return Scene(_mask([*things, *digits]), _mask(digits), len(things) + bool(digits))


def _mask(parts: Sequence[Sequence[int]]) -> Array:
    mask = np.zeros(SIDE * SIDE)
    mask[[i for patches in parts for i in patches]] = 1
    return mask


def _scene_of(record: Mapping[str, Any], scenes: Mapping[str, Any], path: Path) -> Scene:
    """Of the record's picture, by the name of its file."""
    name = Path(str(record["meta"].get("image", ""))).stem
    if name not in scenes:
        raise ResultError(
            f"{path} has no scene {name!r}, which sample {record['id']} is about: `dvc pull` its folder"
        )
    return scene(scenes[name])


def _clutter(counts: Sequence[int], things: Sequence[int], clusters: Sequence[str]) -> dict[str, Any]:
    """Nothing where all samples keep the same number: there is nothing to correlate."""
    found = spearman(things, counts, clusters, REPLICATES)
    if math.isnan(found.value):
        return {}
    pairs = sorted(zip(things, counts, strict=True))
    return {"clutter": {"spearman": found.to_dict(), "things_tokens": [list(pair) for pair in pairs]}}


def _masks(
    cell: Cell, rows: Sequence[Mapping[str, Any]], seen: Sequence[Scene], clusters: Sequence[str]
) -> dict[str, Any]:
    if int(cell.model["side"]) != SIDE:
        return {}
    objects, text = np.stack([s.objects for s in seen]), np.stack([s.text for s in seen])
    what = [kept(row, SIDE) for row in rows]
    found = {}
    kinds = {
        "objects": [w.survive(SIDE**2) for w in what],
        "represented": [w.represented(SIDE**2) for w in what],
    }
    for name, patches in kinds.items():
        known = [p for p in patches if p is not None]
        if len(known) < len(patches):  # one sample that cannot be placed, and the mean would be of the others
            continue
        precision, recall, base = overlap(np.stack(known), objects)
        numbers = {
            "precision": precision,
            "recall": recall,
            "base": base,
            "text_recall": overlap(np.stack(known), text)[1],
        }
        found[name] = _shown(means(numbers, clusters, REPLICATES))
    return found


def _shown(intervals: Mapping[str, Interval]) -> dict[str, Any]:
    return {name: dict(_pairs(interval)) for name, interval in intervals.items()}


def _pairs(interval: Interval) -> Iterator[tuple[str, float | None]]:
    full = interval.to_dict()
    return ((key, full[key]) for key in ("value", "low", "high"))
