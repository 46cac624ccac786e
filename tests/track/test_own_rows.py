"""Tracking a cell reads its own row of the plan, at the place that the index says; without an index the whole plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prunegrid.grid import index
from report import synthetic

from .conftest import Tracked

ROWS = {f"topk_cls keep={keep}": ("topk_cls", keep, 1) for keep in (36, 16)}


def indexed(root: Path, cells: list[dict[str, Any]]) -> None:
    """The plan and its index; no byte of the plan but the first cell's row can be read as JSON."""
    text, places = index.document({"study": "demo", "cells": cells})
    (start, end), *_ = places
    plan = root / "plan" / "demo.json"
    plan.write_text("x" * start + text[start:end] + "x" * (len(text) - end), encoding="utf-8")
    at = {cell["id"]: place for cell, place in zip(cells, places, strict=True)}
    empty: dict[str, Any] = {key: {} for key in ("predictions", "tunings", "made", "data", "models")}
    synthetic.dump(root / "plan" / "index" / "demo.json", {"cells": at, **empty, "latency": None})


def test_a_cell_is_tracked_by_its_own_row(tracked: Tracked, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = synthetic.write_study(tracked.root, columns=["mini_pope"], rows=ROWS)
    assert tracked.run("cell", "--cell", first["id"]) == 0
    before = [(run.info.run_id, run.data.tags, run.data.metrics) for run in tracked.runs()]
    indexed(tracked.root, [first, second])
    assert tracked.run("cell", "--cell", first["id"]) == 0
    assert [(run.info.run_id, run.data.tags, run.data.metrics) for run in tracked.runs()] == before
    stamp = json.loads((tracked.root / "tracked" / "demo" / f"{first['id']}.json").read_text())
    assert [stamp["run_id"]] == [run_id for run_id, _, _ in before]
    for cell, said in (
        (second["id"], "run snakemake again"),
        ("mini-nope", "does not stand in study 'demo'"),
    ):
        assert tracked.run("cell", "--cell", cell) == 1
        assert said in capsys.readouterr().err
