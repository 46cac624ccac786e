"""Options and studies as they stand in conf/: budgets at their own scale, typed models, snapshots, plans.

Options are discovered: a new file is tested without editing this one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from prunegrid.grid.errors import GridError
from prunegrid.grid.options import Options
from prunegrid.grid.plan import make
from prunegrid.grid.scale import rescale
from prunegrid.grid.schema import ModelConfig

from .project import ROOT

CONF = ROOT / "conf"
FULL = {"tokens": 576, "side": 24, "vision_layers": 24, "llm_layers": 32}  # LLaVA-1.5-7B


def names(group: str) -> list[str]:
    return sorted(f.stem for f in (CONF / group).glob("*.yaml"))


# ---- budgets -----------------------------------------------------------------------------------------------------
def figures(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every {of: ..., keep: ...} in plain data."""
    if isinstance(value, Mapping):
        if "of" in value:
            yield value
        for inner in value.values():
            yield from figures(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from figures(inner)


def written() -> list[tuple[str, Mapping[str, Any]]]:
    files = [*(CONF / "reducer").glob("*.yaml"), *(CONF / "study").glob("*.yaml")]
    read = [(f.stem, yaml.safe_load(f.read_text(encoding="utf-8"))) for f in sorted(files)]
    return [(f"{stem} {figure}", figure) for stem, raw in read for figure in figures(raw)]


@pytest.mark.parametrize(("where", "figure"), written(), ids=lambda v: v if isinstance(v, str) else "")
def test_a_figure_of_conf_is_itself_at_the_shape_it_was_written_for(
    where: str, figure: Mapping[str, Any]
) -> None:
    kind = next(k for k in figure if k != "of")
    size = {"keep": "tokens", "side": "side", "vision": "vision_layers", "llm": "llm_layers"}[kind]
    assert FULL[size] == figure["of"], "the papers' figures are those of LLaVA-1.5-7B"
    assert rescale(figure, FULL, where) == figure[kind]


@pytest.mark.parametrize(
    ("figure", "full", "mini"),
    [
        ({"of": 576, "keep": 64}, 64, 16),  # IVTP's budget
        ({"of": 576, "keep": 32}, 32, 8),  # PruMerge's k
        ({"of": 576, "keep": 576}, 576, 144),
        ({"of": 576, "keep": 1}, 1, 1),  # never none
        ({"of": 24, "side": 6}, 6, 3),
        ({"of": 24, "side": 24}, 24, 12),
        ({"of": 24, "vision": 23}, 23, 6),
        ({"of": 32, "llm": [8, 16, 24]}, [8, 16, 24], [2, 3, 5]),
    ],
)
def test_official_budgets_carry_over(figure: Mapping[str, Any], full: Any, mini: Any) -> None:
    sizes = {"tokens": 144, "side": 12, "vision_layers": 6, "llm_layers": 6}
    assert rescale(figure, FULL, "here") == full
    assert rescale(figure, sizes, "here") == mini


# ---- tasks, models, studies --------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", names("task"))
def test_a_task_has_a_prompt_snapshot(name: str) -> None:
    assert (ROOT / "tests" / "tasks" / "snapshots" / f"{name}.json").exists(), (
        "write it with pytest --update-snapshots"
    )


@pytest.mark.parametrize("name", names("model"))
def test_a_model_has_every_typed_key_and_no_other(name: str) -> None:
    made = Options.of(CONF).get("model", name, "here")
    assert set(made) == {f.name for f in fields(ModelConfig)}
    assert made["name"] == name


@pytest.mark.parametrize(
    ("line", "complaint"),
    [("tokens: many", "many"), ("patches: 12", "patches"), ("side: 1.5", "1.5")],
)
def test_a_model_key_of_the_wrong_type_or_name_is_refused(line: str, complaint: str, tmp_path: Path) -> None:
    for file in (
        "cell.yaml",
        "reducer/none.yaml",
        "task/mini_vqa.yaml",
        "tuning/none.yaml",
        "decoding/greedy.yaml",
    ):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text((CONF / file).read_text(encoding="utf-8"), encoding="utf-8")
    text = (CONF / "model" / "mini.yaml").read_text(encoding="utf-8")
    key = line.split(":")[0]
    text = re.sub(rf"(?m)^{key}:.*\n", "", text) + line + "\n"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "odd.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(GridError, match=re.escape(complaint)):
        Options.of(tmp_path).get("model", "odd", "here")


# Studies of models and data that are fetched are planned by tests/test_studies.py.
@pytest.mark.parametrize(
    "name", ["demo", "smoke", "lora", *(n for n in names("study") if n.startswith("mini_"))]
)
def test_a_study_plans(name: str, tmp_path: Path) -> None:
    plan = make(ROOT, tmp_path, name)
    assert plan.title
    for row in plan.rows:
        assert (tmp_path / "cells" / row["id"] / "cell.yaml").exists()
