"""The plan composes each option once and combines mappings; hydra's own composition must give the same cells."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from prunegrid.grid.cell import Cell
from prunegrid.grid.options import GROUPS
from prunegrid.grid.schema import register
from prunegrid.grid.study import points
from prunegrid.grid.twin import load

from .project import ROOT, Project

Point = Mapping[str, Any]
SAMPLED = 50


def demo_points() -> list[Point]:
    return list(points(load(ROOT / "conf", "demo"), {}))


def names(group: str, like: str = "*") -> list[str]:
    return sorted(f.stem for f in (ROOT / "conf" / group).glob(f"{like}.yaml"))


def other(value: Any, rng: random.Random) -> Any:
    """Another value of the same kind; None where there is nothing to vary."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + rng.randint(1, 3)
    if isinstance(value, float):
        return rng.choice([0.125, 1e-3, 2.5])
    if isinstance(value, Mapping) and "of" in value:
        kind = next(k for k in value if k != "of")
        return {"of": value["of"], kind: rng.randint(1, value["of"])}
    return None


def random_point(rng: random.Random) -> Point:
    """Any reducer on any drawn task, with options of all groups changed at random."""
    point: dict[str, Any] = {"seed": rng.randint(0, 9), "limit": rng.choice([None, 7])}
    for group in GROUPS:
        name = rng.choice(
            names(group, "mini_*" if group in ("task", "tuning") else "*")
        )  # whose data are here
        file = ROOT / "conf" / group / f"{name}.yaml"
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
        drawn = {k: other(v, rng) for k, v in values.items() if rng.random() < 0.4}
        changed = {k: v for k, v in drawn.items() if v is not None and k != "layer"}
        if group == "reducer" and "keep" in values and rng.random() < 0.3:
            changed["keep"] = rng.choice([3, 0.5, {"like": "prumerge"}])
        point[group] = {name: changed} if changed else name
    return point


def overrides(point: Point) -> list[str]:
    """A point as words on hydra's command line."""
    words = []
    for group in GROUPS:
        choice = point.get(group)
        if choice is None:
            continue
        name, values = next(iter(choice.items())) if isinstance(choice, Mapping) else (choice, None)
        words.append(f"{group}={name}")
        for key, value in (values or {}).items():
            if key != "as" and isinstance(value, Mapping):  # hydra would merge the two mappings
                words += [f"~{group}.{key}", f"+{group}.{key}={spelled(value)}"]
            elif key != "as":
                words.append(f"{group}.{key}={spelled(value)}")
    return [*words, *(f"{k}={spelled(point[k])}" for k in ("seed", "limit") if k in point)]


def spelled(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{spelled(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(spelled, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def composed(words: list[str]) -> dict[str, Any]:
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        made = OmegaConf.to_container(compose("cell", overrides=words), resolve=True)
    assert isinstance(made, dict)
    return {str(k): v for k, v in made.items()}


def unscaled(cell: Cell, project: Project, point: Point) -> dict[str, Any]:
    """The cell with its reducer's figures as they were written: what is left to compare is composition."""
    choice = point.get("reducer", "none")
    name, values = next(iter(choice.items())) if isinstance(choice, Mapping) else (choice, None)
    written = {**project.options.get("reducer", name, "here"), **(values or {})}
    figures = {k: v for k, v in written.items() if isinstance(v, Mapping)}
    return {**cell.reducer, **figures}


def unresolved(cell: Cell, written: Mapping[str, Any]) -> dict[str, Any]:
    """The cell's tuning with the `null`s of its own put back, and without what is found out of data and code."""
    own = {k: None for k in ("reducer", "seed", "after") if k in written and written[k] is None}
    return {k: v for k, v in {**cell.tuning, **own}.items() if k in written}


SAMPLE = random.Random(0).sample(demo_points(), 20) + [random_point(random.Random(n)) for n in range(30)]


@pytest.mark.parametrize("point", SAMPLE, ids=range(SAMPLED))
def test_a_planned_cell_is_what_hydra_composes(point: Point, shared: Project) -> None:
    cell, whole = shared.cell(**point), composed(overrides(point))
    assert unscaled(cell, shared, point) == whole["reducer"]
    assert unresolved(cell, whole["tuning"]) == whole["tuning"]
    for part in ("model", "task", "decoding", "seed", "limit"):
        assert getattr(cell, part) == whole[part], part


def test_the_sample_varies_every_group_and_every_kind_of_value() -> None:
    words = [word for point in SAMPLE for word in overrides(point)]
    assert len(SAMPLE) == SAMPLED
    for start in ("reducer.", "task.", "model.", "decoding.", "~reducer.", "+reducer.keep={like:", "limit=7"):
        assert any(word.startswith(start) for word in words), start
    assert any(word.endswith(end) for word in words for end in ("=true", "=false"))


def test_hydra_refuses_what_the_schema_does_not_know() -> None:
    for words in (["model.patches=3"], ["decoding.batch_size=many"], ["seeds=1"]):
        with pytest.raises(Exception, match=r"patches|many|seeds"):
            composed(words)
