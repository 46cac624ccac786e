"""FEATURES, PROJECTOR and EMBEDS: what reaches the language model is what the formula says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Place, Reducer, Reduction, ScoreReducer, Site, TokenView
from prunegrid.shape import ModelShape

from . import oracle
from .lab import (
    PATCHES,
    SOURCE,
    Act,
    Answer,
    Inputs,
    answer,
    at,
    close,
    draw,
    fixed,
    one,
    plan,
    prompt_of,
    ragged,
)

pytestmark = pytest.mark.usefixtures("no_grad")
Model = LlavaForConditionalGeneration
EITHER = pytest.mark.parametrize("place", [Place.FEATURES, Place.EMBEDS])


def check(model: Model, inputs: Inputs, got: Answer, visual: list[Tensor]) -> None:
    for b, mine in enumerate(visual):
        x, _ = prompt_of(model, inputs, b, mine)
        close(got.logits[b], oracle.plain(model, x, got.tokens[b]))


def raw(model: Model, inputs: Inputs, b: int) -> Tensor:
    """CLS and patches of the layer that LLaVA reads, [1 + N, D]."""
    return oracle.vit(model, oracle.patches(model, one(inputs, b)["pixel_values"]), 0, SOURCE + 1)


@EITHER
@pytest.mark.parametrize("seed", range(2))
def test_survivors_stand_in_the_order_of_keep(model: Model, inputs: Inputs, place: Place, seed: int) -> None:
    keep = torch.randperm(PATCHES, generator=torch.Generator().manual_seed(seed))[:5].tolist()
    assert keep != sorted(keep)
    got = answer(model, plan((at(place), fixed(*keep))), inputs)
    check(
        model, inputs, got, [oracle.features(model, one(inputs, b)["pixel_values"], keep) for b in range(2)]
    )


@EITHER
def test_samples_may_keep_different_numbers_down_to_none(model: Model, inputs: Inputs, place: Place) -> None:
    keeps: dict[str, list[int]] = {"0": [8, 2, 5], "1": []}
    got = answer(model, plan((at(place), ragged(keeps))), inputs)
    check(
        model,
        inputs,
        got,
        [oracle.features(model, one(inputs, b)["pixel_values"], keeps[str(b)]) for b in range(2)],
    )
    assert got.trace.visual == [[3] * 4, [0] * 4]


@EITHER
def test_no_token_at_all(model: Model, inputs: Inputs, place: Place) -> None:
    got = answer(model, plan((at(place), fixed())), inputs)
    check(model, inputs, got, [oracle.features(model, one(inputs, b)["pixel_values"], []) for b in range(2)])


@EITHER
def test_gaps_in_valid_are_closed(model: Model, inputs: Inputs, place: Place) -> None:
    def act(view: TokenView) -> Reduction:
        valid = torch.tensor([[True, False, True, True], [False, True, False, True]])
        return Reduction(torch.tensor([7, 0, 9, 3]).expand(2, -1), valid=valid)

    got = answer(model, plan((at(place), act)), inputs)
    keeps = [[7, 9, 3], [0, 3]]
    check(
        model,
        inputs,
        got,
        [oracle.features(model, one(inputs, b)["pixel_values"], keeps[b]) for b in range(2)],
    )
    assert got.trace.kept[str(place)] == keeps


def mixture(weights: Tensor, keep: list[int]) -> Act:
    return lambda view: Reduction(torch.tensor(keep).expand(2, -1), weights.expand(2, -1, -1))


def test_weights_at_features_mix_class_token_and_patches(model: Model, inputs: Inputs) -> None:
    weights = torch.randn(3, 1 + PATCHES, generator=torch.Generator().manual_seed(0))
    got = answer(model, plan((at(Place.FEATURES), mixture(weights, [4, -1, 2]))), inputs)
    check(model, inputs, got, [oracle.project(model, weights @ raw(model, inputs, b)) for b in range(2)])
    assert got.trace.kept["features"] == [[4, -1, 2]] * 2


def test_weights_at_embeds_mix_projected_tokens(model: Model, inputs: Inputs) -> None:
    weights = torch.randn(3, PATCHES, generator=torch.Generator().manual_seed(0))
    got = answer(model, plan((at(Place.EMBEDS), mixture(weights, [4, -1, 2]))), inputs)
    check(model, inputs, got, [weights @ oracle.project(model, raw(model, inputs, b)[1:]) for b in range(2)])


def test_features_then_embeds_with_ragged_counts(model: Model, inputs: Inputs) -> None:
    first = {"0": draw(9, PATCHES, 1), "1": draw(5, PATCHES, 2)}
    second = {"0": [8, 0], "1": [2, 3, 4]}
    got = answer(model, plan((at(Place.FEATURES), ragged(first)), (at(Place.EMBEDS), ragged(second))), inputs)
    keeps = [[first[b][k] for k in second[b]] for b in ("0", "1")]
    check(
        model,
        inputs,
        got,
        [oracle.features(model, one(inputs, b)["pixel_values"], keeps[b]) for b in range(2)],
    )
    assert got.trace.projector == [9, 5]


# ---- a trained projector in its place ------------------------------------------------------------------------
class Resampler(nn.Module):
    """Three learned queries over the features."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.queries = nn.Parameter(torch.randn(3, 32))
        self.out = nn.Linear(32, 64)

    def forward(self, features: Tensor, *_: Any) -> Tensor:
        rows = (self.queries @ features.transpose(1, 2)).softmax(-1)
        mapped: Tensor = self.out(rows @ features)
        return mapped


@dataclass(frozen=True)
class Replacing(Reducer):
    resampler: Resampler
    first: tuple[int, ...] = ()

    def sites(self, shape: ModelShape) -> list[Site]:
        return [*([at(Place.FEATURES)] if self.first else []), at(Place.PROJECTOR), at(Place.EMBEDS)]

    def module(self, shape: ModelShape) -> Resampler:
        return self.resampler

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction | None:
        if site.place == Place.FEATURES:
            return fixed(*self.first)(view)
        assert view.index.tolist() == [[-1] * 3] * 2, "resampled tokens are no patches"
        return fixed(2, 0)(view)


@pytest.mark.parametrize("first", [(), (3, 9, 12, 1)])
def test_a_module_replaces_the_projector(model: Model, inputs: Inputs, first: tuple[int, ...]) -> None:
    resampler = Resampler()
    before = model.model.multi_modal_projector.forward
    got = answer(model, Replacing(resampler, first), inputs)
    seen = [raw(model, inputs, b)[1:] for b in range(2)]
    check(model, inputs, got, [resampler((s[list(first)] if first else s)[None])[0][[2, 0]] for s in seen])
    assert got.trace.projector == [0] * 2, "nothing passes the projector that was replaced"
    assert model.model.multi_modal_projector.forward == before


# ---- the base class of most methods --------------------------------------------------------------------------
@dataclass(frozen=True)
class Centre(ScoreReducer):
    """After a ragged first stage: the tokens with the largest norm."""

    def sites(self, shape: ModelShape) -> list[Site]:
        return [at(Place.VISION, 0), at(Place.FEATURES)]

    def score(self, view: TokenView) -> Tensor:
        return view.tokens.norm(dim=-1)

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction | None:
        if site.place == Place.VISION:
            return ragged({"0": draw(12, PATCHES, 1), "1": draw(5, PATCHES, 2)})(view)
        return super().reduce(site, view, state)


@pytest.mark.parametrize("keep", [0.5, 0.3, 0.05, 4])
def test_a_budget_is_of_the_samples_own_tokens(model: Model, inputs: Inputs, keep: float) -> None:
    both = answer(model, Centre(keep), inputs)
    want = [max(1, int(keep * n + 0.5)) if isinstance(keep, float) else keep for n in (12, 5)]
    assert [len(kept) for kept in both.trace.kept["features"]] == want
    for b in range(2):
        alone = answer(model, Centre(keep), one(inputs, b), ids=[str(b)])
        assert both.trace.kept["features"][b] == alone.trace.kept["features"][0]
        assert both.trace.kept["features"][b] == sorted(both.trace.kept["features"][b])
        close(both.logits[b], alone.logits[0])
