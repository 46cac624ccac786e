"""What every study of conf/ must do, and its twin on the embedded model. Studies are discovered."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from grid.conftest import started_here
from prunegrid.cost import tables
from prunegrid.grid import fitting, published, twin
from prunegrid.grid.errors import GridError
from prunegrid.grid.options import Options
from prunegrid.grid.plan import Plan, draft, make, study_of
from prunegrid.run.build import resolve
from prunegrid.shape import ModelShape
from prunegrid.tasks.definitions import DEFINITIONS

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
STUDIES = list(twin.names(CONF))
CHECKPOINTS = {
    Options.of(CONF).get("model", f.stem, "here")["published"] for f in (CONF / "model").glob("*.yaml")
}
ABSENT = {"video_llava_7b"}  # measured by a paper, and no model of this project


@pytest.fixture(autouse=True)
def asked_here(composed_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "started", started_here)


def planned(name: str, results: Path) -> Plan:
    return draft(ROOT, results, name)


@cache
def shape(model: str) -> ModelShape:
    """Of a model option; of the embedded model its figures alone matter."""
    import json

    option = Options.of(CONF).get("model", model, "here")
    config = option["config"] or json.loads(
        (ROOT / option["path"] / "config.json").read_text(encoding="utf-8")
    )
    return ModelShape.from_config(config)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_planned_before_its_data_are_there(name: str, tmp_path: Path) -> None:
    plan = planned(name, tmp_path)
    assert plan.title
    assert bool(plan.rows) != bool(plan.unsupported)
    assert not list(tmp_path.rglob("*")), "a draft leaves nothing behind"


@pytest.mark.parametrize("name", STUDIES)
def test_every_method_of_a_study_can_act_in_its_model(name: str, tmp_path: Path) -> None:
    seen: set[str] = set()
    for row in planned(name, tmp_path).rows:
        values = {
            k: 3 if is_like(v) else v for k, v in row["reducer"].items() if k not in ("name", "_target_")
        }
        key = f"{row['model']} {row['reducer']['name']} {values}"
        if key not in seen:
            resolve(row["reducer"]["_target_"], "here")(**values).sites(shape(row["model"]))
            seen.add(key)


def is_like(value: Any) -> bool:
    return isinstance(value, Mapping) and "like" in value


@pytest.mark.parametrize(
    "name", [n for n in STUDIES if n not in {f.stem for f in (CONF / "study").glob("*.yaml")}]
)
def test_a_twin_needs_the_embedded_model_alone_and_no_paper_stands_beside_it(
    name: str, tmp_path: Path
) -> None:
    plan = make(ROOT, tmp_path, name)
    assert {row["model"] for row in plan.rows} == {"mini"}
    assert {row["published"] for row in plan.rows} == {None}
    assert {row["cell"]["limit"] for row in plan.rows} <= set(range(1, 201)), "it runs in minutes"


@pytest.mark.parametrize("name", STUDIES)
def test_published_figures_say_what_they_are(name: str, tmp_path: Path) -> None:
    study = study_of(ROOT, tmp_path, name)
    given = study.published
    if not given:
        return
    assert given["source"]
    assert set(published.models(given)) <= CHECKPOINTS | ABSENT
    columns = {column for row in (given.get("values") or {}).values() for column in row}
    assert columns == set(given.get("metric") or columns if "values" not in given else given["metric"])
    for column, definition in (given.get("metric") or {}).items():
        assert definition in DEFINITIONS, f"{definition} is no definition"
        meant = DEFINITIONS[definition].tasks
        assert not meant or column in meant, f"{definition} is not a metric of {column}"
    if given.get("values") and not study.unsupported:
        rows = [r for r in planned(name, tmp_path).rows if r["published"] is not None]
        count = sum(len(row) for row in given["values"].values())
        assert len(rows) == count, "each figure stands beside one cell"
    if study.cost_table:
        assert study.cost_table in tables.names()


def test_a_study_that_cannot_run_says_why(tmp_path: Path) -> None:
    with pytest.raises(GridError, match=r"prumerge_table3.*unsupported.*video"):
        make(ROOT, tmp_path, "prumerge_table3")
    assert planned("prumerge_table3", tmp_path).unsupported


def test_without_its_data_a_study_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(GridError, match="data/bench"):
        make(ROOT, tmp_path, "prumerge_table4")
    assert any(path.startswith("data/bench") for path in planned("prumerge_table4", tmp_path).absent)


@pytest.mark.parametrize(
    "name", [f.stem for f in (CONF / "study").glob("*.yaml") if "\nlatency:" in f.read_text(encoding="utf-8")]
)
def test_time_is_taken_often_enough_for_a_spread(name: str, tmp_path: Path) -> None:
    measured = study_of(ROOT, tmp_path, name).latency
    assert measured and measured["repeats"] >= 50


def test_the_embedded_models_time_is_that_of_a_short_and_a_long_answer(tmp_path: Path) -> None:
    measured = study_of(ROOT, tmp_path, "mini_speed").latency
    assert measured and (measured["batch_sizes"], measured["new_tokens"]) == ([1, 8], [1, 64])
