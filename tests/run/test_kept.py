"""What the traces say of the pictures, on scenes whose objects are known: checked against figures worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grid.project import Project
from prunegrid.grid.cell import Cell
from prunegrid.mini.model import SIDE as MINI_SIDE
from prunegrid.run import build
from prunegrid.run.files import Files, ResultError, write_json, write_jsonl
from prunegrid.run.kept import SIDE, kept_patches, scene

from . import lab

PATCHES = SIDE * SIDE
Keep = Callable[[dict[str, Any]], dict[str, Any]]  # a scene -> what its trace says


@pytest.fixture
def cell(project: Project) -> Cell:
    """On the test model's questions, but with the grid that the masks are given in."""
    (made,) = lab.cells(lab.study(project, "random", task="mini_vqa"))
    return replace(made, model={**made.model, "side": SIDE, "tokens": PATCHES})


def found(project: Project, cell: Cell, keep: Keep) -> dict[str, Any]:
    """kept.json where every sample keeps what `keep` says of its scene."""
    files, data = Files.of(project.results, cell), project.root / lab.SCENES
    scenes = {row["id"]: row for row in map(json.loads, (data / "scenes.jsonl").open(encoding="utf-8"))}
    samples = list(build.task(cell).samples(data))
    rows = [{"id": s.id, **keep(scenes[s.cluster])} for s in samples]
    write_jsonl(files.records, [s.record("red").to_dict() | {"new_tokens": 2} for s in samples])
    write_jsonl(files.trace, rows)
    write_json(files.provenance, {"samples": len(rows)})
    kept_patches(cell, files, rows, project.root)
    made: dict[str, Any] = json.loads((files.cell / "kept.json").read_text(encoding="utf-8"))
    return made


def objects(row: dict[str, Any]) -> list[int]:
    return sorted({i for part in (*row["thing_patches"], *row["digit_patches"]) for i in part})


def trace(ids: list[int], **more: Any) -> dict[str, Any]:
    return {"visual": [len(ids)] * lab.LAYERS, "kept": {"features": ids}, **more}


def test_masks_are_in_the_mini_models_grid() -> None:
    assert SIDE == MINI_SIDE


def test_a_choice_of_the_objects_alone_is_perfect(project: Project, cell: Cell) -> None:
    made = found(project, cell, lambda row: trace(objects(row)))
    for name in ("precision", "recall", "text_recall"):
        assert made["objects"][name] == {"value": 1, "low": 1, "high": 1}, name
    assert made["n"] == made["clusters"] == lab.IMAGES
    assert "represented" not in made


def test_all_patches_have_the_precision_of_a_blind_choice(project: Project, cell: Cell) -> None:
    shares: list[float] = []

    def everything(row: dict[str, Any]) -> dict[str, Any]:
        shares.append(len(objects(row)) / PATCHES)
        return {"visual": [PATCHES] * lab.LAYERS, "kept": {}}

    made = found(project, cell, everything)["objects"]
    assert made["recall"]["value"] == 1
    assert made["precision"]["value"] == pytest.approx(np.mean(shares)) == made["base"]["value"]
    assert made["precision"]["low"] < made["precision"]["value"] < made["precision"]["high"]


def test_mixed_tokens_count_as_their_patch_and_as_all_that_is_in_them(project: Project, cell: Cell) -> None:
    """Each token stands on an object; half of what is in it does not."""

    def mixed(row: dict[str, Any]) -> dict[str, Any]:
        ids, ground = objects(row), sorted(set(range(PATCHES)) - set(objects(row)))
        return trace(ids[:4], members=[[i, j] for i, j in zip(ids[:4], ground, strict=False)])

    made = found(project, cell, mixed)
    assert made["objects"]["precision"]["value"] == 1
    assert made["represented"]["precision"]["value"] == 0.5
    assert made["represented"]["recall"]["value"] == pytest.approx(made["objects"]["recall"]["value"])


def test_where_a_sample_cannot_be_placed_no_mean_is_given(project: Project, cell: Cell) -> None:
    seen: list[str] = []

    def once(row: dict[str, Any]) -> dict[str, Any]:
        seen.append(row["id"])
        return trace([-1, -1]) if len(seen) == 1 else trace(objects(row))

    assert "objects" not in found(project, cell, once)


def test_counts_are_told_with_their_spread(project: Project, cell: Cell) -> None:
    numbers = iter([2, 3, 4, 5, 6, 10])
    made = found(project, cell, lambda row: trace(list(range(next(numbers)))))["tokens"]
    assert made["floor"] == 4  # 16 of 576, of 144
    assert (made["min"], made["max"], made["mean"]["value"]) == (2, 10, 5)
    assert made["under"]["value"] == pytest.approx(2 / 6)
    assert made["variation"]["value"] == pytest.approx(np.std([2, 3, 4, 5, 6, 10]) / 5)
    assert made["variation"]["low"] < made["variation"]["value"] < made["variation"]["high"]


def test_clutter_is_the_number_of_things(project: Project, cell: Cell) -> None:
    made = found(project, cell, lambda row: trace(list(range(10 * scene(row).things))))["clutter"]
    assert made["spearman"]["value"] == pytest.approx(1)
    assert made["things_tokens"] == sorted(made["things_tokens"]) and len(made["things_tokens"]) == lab.IMAGES
    assert all(tokens == 10 * things for things, tokens in made["things_tokens"])


def test_a_fixed_budget_has_no_clutter(project: Project, cell: Cell) -> None:
    assert "clutter" not in found(project, cell, lambda row: trace([1, 2, 3]))


def test_other_grids_and_other_pictures_have_no_masks(project: Project, cell: Cell) -> None:
    other = replace(cell, model={**cell.model, "side": 24})
    made = found(project, other, lambda row: trace([1, 2, 3]))
    assert "objects" not in made and "scenes" in made
    (project.root / lab.SCENES / "scenes.jsonl").rename(project.root / "elsewhere.jsonl")
    files = Files.of(project.results, cell)
    rows = [{"id": "x", **trace([1])} for _ in range(lab.IMAGES)]
    write_jsonl(files.records, [{"id": "x", "cluster": "x", "meta": {}} for _ in rows])
    write_jsonl(files.trace, rows)
    write_json(files.provenance, {"samples": len(rows)})
    kept_patches(cell, files, rows, project.root)
    assert not {"scenes", "objects", "clutter"} & set(json.loads((files.cell / "kept.json").read_text()))


def test_a_picture_without_its_scene_is_named(project: Project, cell: Cell) -> None:
    path: Path = project.root / lab.SCENES / "scenes.jsonl"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]), encoding="utf-8")
    files = Files.of(project.results, cell)
    samples = list(build.task(cell).samples(project.root / lab.SCENES))
    write_jsonl(files.records, [s.record("").to_dict() for s in samples])
    write_jsonl(files.trace, rows := [trace([1]) for _ in samples])
    write_json(files.provenance, {"samples": len(rows)})
    with pytest.raises(ResultError, match="no scene 'scene0000'"):
        kept_patches(cell, files, rows, project.root)
