"""The index of a plan: a job's tables say what the whole plan says, and come from its own rows' bytes alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from prunegrid.grid import index
from prunegrid.grid.errors import GridError
from prunegrid.grid.index import Tables
from prunegrid.grid.plan import Plan

from .project import Project

BLOCKS: list[dict[str, Any]] = [
    {"task": ["mini_vqa", "mini_pope"], "reducer": ["none", {"random": {"keep": {"like": "prumerge"}}}]},
    {"task": "mini_vqa", "reducer": ["prumerge", "none"], "seed": [0, 1]},  # cells of the first block, again
    {"task": "mini_vqa", "reducer": "topk_cls", "tuning": {"mini_lora": {"after": "mini_projector"}}},
    {"task": "mini_vqa", "model": "other"},
]


@pytest.fixture
def plan(project: Project) -> Plan:
    """Of a model to fetch as well, with latency and characters that JSON escapes."""
    text = (project.root / "conf" / "model" / "mini.yaml").read_text(encoding="utf-8")
    other = text.replace("name: mini ", "name: other ", 1) + "\nsource: {llava: some/where}\n"
    project.write("conf/model/other.yaml", other)
    return project.plan(*BLOCKS, latency={"repeats": 3}, title='Tokens \u2192 "cells": []')


def test_the_text_is_json_and_each_row_lies_where_it_is_said() -> None:
    made = {"a": {"cells": [1]}, "t": 'é "cells": [', "cells": [{"id": "x"}, {}, {"id": "ü, "}], "z": None}
    text, places = index.document(made)
    assert text == json.dumps(made)
    written = text.encode()
    assert [json.loads(written[start:end]) for start, end in places] == made["cells"]
    assert index.document({"cells": []}) == ('{"cells": []}', [])


def test_a_job_finds_what_the_whole_plan_says(project: Project, plan: Plan) -> None:
    whole, job = Tables.of(plan.rows, plan.latency), Tables.read(project.results, "mine")
    assert job is not None
    for name in ("cells", "predictions", "tunings", "models", "made"):
        said, found = getattr(whole, name), getattr(job, name)
        assert list(found) == list(said) and {key: found[key] for key in found} == dict(said), name
    assert {k: tuple(v) for k, v in job.data.items()} == dict(whole.data)
    assert job.latency == whole.latency and job.latency is not None
    assert {row["id"] for row in job.rows} == {row["id"] for row in whole.rows}
    assert set(job.models) == {"other"} and len(job.tunings) == 6 and len(job.made) == 1
    assert job.data["data_mini_scenes"] == ["data/mini/scenes", "a" * 32 + ".dir"]


def test_a_tuning_belongs_to_the_first_of_its_cells(project: Project) -> None:
    tuned = {"tuning": {"mini_lora": {"reducer": "none"}}}
    rows = project.plan({**tuned, "reducer": ["topk_cls", "random"], "task": ["mini_vqa", "mini_pope"]}).rows
    ((tuning, found),) = Tables.of(rows, None).tunings.items()
    first = next(row for row in rows if tuning in [each["id"] for each in row["adapters"]])
    assert (found["cell"], found["model"]) == (first["id"], "mini")


def test_only_the_own_row_is_read(project: Project, plan: Plan) -> None:
    where = project.results / "plan" / "mine.json"
    row = plan.rows[3]
    own = json.dumps(row).encode()
    before, found, after = where.read_bytes().partition(own)
    where.write_bytes(b"#" * len(before) + found + b"#" * len(after))
    tables = Tables.read(project.results, "mine")
    assert tables is not None and tables.cells[row["id"]] == row


def test_a_plan_that_changed_meanwhile_is_named(project: Project, plan: Plan) -> None:
    where = project.results / "plan" / "mine.json"
    tables = Tables.read(project.results, "mine")
    assert tables is not None
    text, cell = where.read_text(encoding="utf-8"), plan.rows[0]["id"]
    for changed in (f"{{{text}", text.replace(cell, f"{cell[:-1]}x")):  # one byte further; another cell's
        where.write_text(changed, encoding="utf-8")
        with pytest.raises(GridError, match=rf"mine\.json changed .* {cell}.* run snakemake again"):
            tables.cells[cell]
    with pytest.raises(KeyError):
        tables.predictions["unknown"]


def test_the_index_follows_the_plan(project: Project, plan: Plan) -> None:
    assert Tables.read(project.results, "other") is None
    file = index.file(project.results, "mine")
    before, stamp = file.read_text(encoding="utf-8"), file.stat().st_mtime_ns
    project.plan()
    assert file.stat().st_mtime_ns == stamp
    file.unlink()
    project.plan()
    assert file.read_text(encoding="utf-8") == before
    ids = {row["id"] for row in project.plan(choose={"limit": 8}).rows}
    tables = Tables.read(project.results, "mine")
    assert tables is not None and {row["id"] for row in tables.cells.values()} == ids
