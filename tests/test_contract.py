"""What every option of conf/ must do. Options are discovered: a new file is tested without editing this one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from prunegrid.grid.options import Options
from prunegrid.grid.scale import rescale
from prunegrid.mini import model as model_files
from prunegrid.reduce import Place, Reducer
from prunegrid.reduce.places import check_probe, resolve_layer
from prunegrid.run.build import resolve
from prunegrid.shape import ModelShape, llava15_7b
from reduce import clip, lab

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
SOURCED = re.compile(r"arXiv:\d{4}\.\d{4,5}|Table \d+|The floor|: the baseline|project's own")
DEPTH = lab.DEPTH


def names(group: str) -> list[str]:
    return sorted(f.stem for f in (CONF / group).glob("*.yaml"))


REDUCERS = names("reducer")


@cache
def option(group: str, name: str) -> dict[str, Any]:
    return Options.of(CONF).get(group, name, "here")


def model_of(shape: ModelShape) -> dict[str, int]:
    """The figures that budgets are rescaled to."""
    return {
        "tokens": shape.visual_tokens,
        "side": shape.vision.side,
        "vision_layers": shape.vision.layers,
        "llm_layers": shape.llm.layers,
    }


def tiny_shape() -> ModelShape:
    return ModelShape.from_config(lab.tiny(layers=DEPTH).config.to_dict())


def made(name: str, model: Mapping[str, Any]) -> Reducer:
    """The reducer with its options carried over to a model."""
    values = {k: v for k, v in option("reducer", name).items() if k not in ("name", "_target_")}
    if "untrained" in values:
        values["untrained"] = True  # no weights come with the methods that are trained
    kind = resolve(option("reducer", name)["_target_"], name)
    built: Reducer = kind(**{k: rescale(v, model, k) for k, v in values.items()})
    return built


# ---- reducers ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", REDUCERS)
def test_a_reducer_yaml_lists_exactly_the_parameters(name: str) -> None:
    kind = resolve(option("reducer", name)["_target_"], name)
    assert set(option("reducer", name)) - {"name", "_target_"} == {f.name for f in fields(kind) if f.init}
    assert option("reducer", name)["name"] == name


@pytest.mark.parametrize("name", REDUCERS)
def test_a_reducer_yaml_begins_with_what_it_is_and_its_source(name: str) -> None:
    lines = (CONF / "reducer" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = " ".join(line for line in lines[:3] if line.startswith("#"))
    assert lines[0].startswith("# ")
    assert SOURCED.search(comment), comment


@cache
def shapes() -> dict[str, ModelShape]:
    mini = model_files.llava_config(model_files.clip_config().vision_config)
    return {"mini": ModelShape.from_config(mini.to_dict()), "full": llava15_7b()}


def test_the_mini_options_state_the_mini_shape() -> None:
    stated = {k: option("model", "mini")[k] for k in model_of(llava15_7b())}
    assert stated == model_of(shapes()["mini"])
    assert model_of(shapes()["full"]) == {"tokens": 576, "side": 24, "vision_layers": 24, "llm_layers": 32}


@pytest.mark.parametrize("size", ["mini", "full"])
@pytest.mark.parametrize("name", REDUCERS)
def test_a_reducer_fits_the_mini_and_the_full_shape(name: str, size: str) -> None:
    shape = shapes()[size]
    for site in made(name, model_of(shape)).sites(shape):
        inside = site.place in (Place.PROMPT, Place.CACHE)
        tower, what = (shape.llm, "LLM") if inside else (shape.vision, "ViT")
        if site.layer is not None:
            resolve_layer(site.layer, tower.layers, what)
        check_probe(site, tower.layers, what)


def footprint(model: Any) -> tuple[object, ...]:
    """All that a call may leave behind on a model."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    parts = (model, model.model, model.model.vision_tower, model.model.language_model)
    return (
        sum(len(getattr(m, kind)) for m in model.modules() for kind in kinds),
        [n for n, m in model.named_modules() if "forward" in m.__dict__],
        [part.config._attn_implementation for part in parts],
    )


@pytest.mark.parametrize("name", REDUCERS)
def test_a_reducer_runs_in_a_padded_batch_as_alone_and_leaves_nothing_behind(name: str, model: Any) -> None:
    inputs, ids = lab.batch((2, 6, 4), before=(3, 1, 2)), ["a", "b", "c"]
    asked = clip.told(inputs, lab.IMAGE)
    with torch.no_grad():
        model(
            **lab.batch(), output_hidden_states=True
        )  # transformers installs its capture hooks at first use
    reducer, before = made(name, model_of(tiny_shape())), footprint(model)
    whole = lab.answer(model, reducer, inputs, ids=ids, prompt=asked)
    assert footprint(model) == before
    for b, key in enumerate(ids):
        alone = lab.answer(model, reducer, lab.one(inputs, b), ids=[key], prompt=asked[b : b + 1])
        assert alone.trace.sample(0) == whole.trace.sample(b)
        lab.close(alone.logits[0], whole.logits[b])


@pytest.mark.parametrize("name", [n for n in REDUCERS if n != "none"])
def test_a_reducer_reduces_and_the_trace_says_so(name: str, model: Any) -> None:
    with torch.no_grad():
        trace = lab.answer(model, made(name, model_of(tiny_shape())), lab.even(), 6).trace
    evicted = [
        min(row) < len_ + 5 for row, len_ in zip(trace.cache, (p[0] for p in trace.prompt), strict=False)
    ]
    assert all(min(row) < lab.PATCHES for row in trace.visual) or (evicted and all(evicted))


def test_prumerge_and_the_grids_have_the_official_values_at_full_scale() -> None:
    full = model_of(llava15_7b())
    built: Any = made("prumerge", full)
    assert (built.k, built.fence, built.keep) == (32, 1.5, None)
    grid: Any = made("spatial", full)
    assert (grid.rows, grid.columns) == (6, 6)
    pool: Any = made("spatial_pool", full)
    assert pool.out == 8
