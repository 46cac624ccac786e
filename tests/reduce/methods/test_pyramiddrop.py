"""PyramidDrop: made-up prompts and the tiny LLaVA against full runs with the reference's counts and choices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Place
from prunegrid.reduce.methods.pyramiddrop import PyramidDrop
from prunegrid.shape import llava15_7b
from reduce import made, oracle
from reduce.lab import LAYERS, PATCHES, Inputs, answer, at, batch, close, one, plan, prompt_of, ragged
from reference import pyramiddrop as reference

pytestmark = pytest.mark.usefixtures("no_grad")
Model = LlavaForConditionalGeneration
NEW = 4
LAYERS3 = (1, 2, 3)
FOUR = batch((3, 7, 5, 1), 3, (2, 1, 4, 3))


def test_paper_scale_counts() -> None:
    reducer = PyramidDrop()
    after = reference.counts(576)
    assert after == [288, 144, 72]
    layers = reference.layer_counts(32, tuple(reducer.layers), 576, after)
    assert sum(layers) / 32 == 270
    assert [s.layer for s in reducer.sites(llava15_7b())] == [8, 16, 24]
    state: dict[str, Any] = {}
    view = made.prompt_view([made.prompt(35, 576, 9, heads=2)], 7, "last")
    for site, n in zip(reducer.sites(llava15_7b()), after, strict=True):
        assert site.layer is not None
        object.__setattr__(view, "attended", {site.layer: next(iter(view.attended.values()))})
        object.__setattr__(view, "columns", {site.layer: next(iter(view.columns.values()))})
        assert len(made.kept(reducer.reduce(site, view, state))[0]) == n


@pytest.mark.parametrize(
    "shapes",
    [
        [(3, 16, 5)],
        [(2, 16, 3), (5, 9, 4), (1, 25, 8), (4, 16, 1)],
        [(6, 144, 20), (3, 100, 40)],
        [(9, 576, 9)],
    ],
    ids=["1x16", "4x ragged", "2x ragged", "1x576"],
)
def test_the_selection_equals_the_loop(shapes: list[tuple[int, int, int]]) -> None:
    """The reference's rule on the row of the layer that has just run."""
    samples = [made.prompt(*s, seed=n) for n, s in enumerate(shapes)]
    reducer = PyramidDrop(row="before")
    view = made.prompt_view(samples, 7, "last")
    got = made.kept(reducer.reduce(reducer.sites(llava15_7b())[0], view, {}))
    for s, mine in zip(samples, got, strict=True):
        visual, length = list(s.visual), s.q.shape[1]
        values = reference.scores(s.q, s.k, visual)
        stay, _ = reference.stage(values, visual, length, reference.counts(len(visual))[0])
        assert [visual[j] for j in mine] == [c for c in stay if c in s.visual]


def expected(
    model: Model, x: torch.Tensor, visual: range, renumber: bool, counts: list[int], row: str = "next"
) -> list[oracle.Stage]:
    """Stage by stage: who stays, by the last row of a full run in which the earlier ones already are masked."""
    stages: list[oracle.Stage] = []
    left = list(visual)
    for layer, n in zip(LAYERS3, counts, strict=True):
        alive, position = oracle.survivors(model, len(x), visual, stages)
        _, attention = oracle.decode(model, x, [oracle.causal(a) for a in alive], position)
        score = attention[layer - (row == "before")][:, -1].mean(0)
        stay, _ = reference.stage(score[left].tolist(), left, len(x), n)
        kept = [j for j, t in enumerate(left) if t in stay]
        stages.append((layer, kept, renumber))
        left = [left[j] for j in kept]
    return stages


@pytest.mark.parametrize("row", ["next", "before"])
@pytest.mark.parametrize("positions", ["renumber", "keep"])
@pytest.mark.parametrize("inputs", [batch(), one(batch(), 0), FOUR], ids=["2", "1", "4"])
def test_the_model_answers_as_if_the_others_were_masked(
    model: Model, row: Any, positions: Any, inputs: Inputs
) -> None:
    got = answer(model, PyramidDrop(LAYERS3, positions=positions, row=row), inputs, NEW)
    for b in range(len(inputs["input_ids"])):
        x, visual = prompt_of(model, inputs, b)
        stages = expected(model, x, visual, positions == "renumber", reference.counts(PATCHES), row)
        close(got.logits[b], oracle.masked(model, x, visual, stages, got.tokens[b]))
        held = reference.layer_counts(LAYERS, LAYERS3, PATCHES, reference.counts(PATCHES))
        assert got.trace.visual[b] == held
        assert got.trace.cache[b] == [len(x) - PATCHES + n + NEW - 1 for n in held]


def test_shares_are_of_each_samples_own_tokens(model: Model, inputs: Inputs) -> None:
    some = {"0": list(range(13)), "1": [0, 3, 4, 5, 9, 12, 15, 2]}
    reducer = made.Chain(plan((at(Place.FEATURES), ragged(some))), PyramidDrop(LAYERS3))
    got = answer(model, reducer, inputs, NEW)
    assert got.trace.visual == [[13, 6, 3, 1], [8, 4, 2, 1]]
    for b in range(2):
        features = oracle.features(model, one(inputs, b)["pixel_values"], some[str(b)])
        x, visual = prompt_of(model, inputs, b, features)
        stages = expected(model, x, visual, True, reference.counts(len(visual)))
        close(got.logits[b], oracle.masked(model, x, visual, stages, got.tokens[b]))


def test_shares_are_rounded_down(model: Model, inputs: Inputs) -> None:
    """Of 16 tokens 7.52, 3.84 and 1.6 are 7, 3 and 1; with and without ragged counts."""
    shares = (0.47, 0.24, 0.1)
    got = answer(model, PyramidDrop(LAYERS3, shares), inputs, 1)
    assert got.trace.visual == [[PATCHES, *reference.counts(PATCHES, shares)]] * 2 == [[16, 7, 3, 1]] * 2
    some = {"0": list(range(16)), "1": list(range(11))}
    reducer = made.Chain(plan((at(Place.FEATURES), ragged(some))), PyramidDrop(LAYERS3, shares))
    assert answer(model, reducer, inputs, 1).trace.visual == [[16, 7, 3, 1], [11, 5, 2, 1]]


def test_nothing_stays_behind(model: Model, inputs: Inputs) -> None:
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    answer(model, PyramidDrop(LAYERS3), inputs, 2)
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": (1, 2)}, "2 layers, but 3 shares"),
        ({"layers": (2, 1, 3)}, "must rise"),
        ({"layers": (0, 1, 2), "row": "before"}, r"must lie in 1\.\.3"),
        ({}, r"must lie in 0\.\.3"),
        ({"row": "last"}, "must be 'next' or 'before'"),
        ({"layers": LAYERS3, "keep": (0.5, 0.25, 0.0)}, r"must lie in \(0, 1\]"),
    ],
)
def test_impossible_settings_name_the_range(model: Model, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        answer(model, PyramidDrop(**options), batch(), 1)
