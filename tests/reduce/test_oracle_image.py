"""IMAGE: fewer pixels, or fewer patch embeddings before the first ViT layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Place, Reducer, Reduction, Site, TokenView
from prunegrid.shape import ModelShape

from . import oracle
from .lab import PATCHES, SOURCE, Inputs, answer, at, close, draw, fixed, one, plan, prompt_of, ragged

pytestmark = pytest.mark.usefixtures("no_grad")
Model = LlavaForConditionalGeneration


@dataclass(frozen=True)
class Smaller(Reducer):
    """Pictures scaled to `pixels` per side; then, if given, only the patches `keep`."""

    pixels: int
    keep: tuple[int, ...] | None = None

    def sites(self, shape: ModelShape) -> list[Site]:
        return [at(Place.IMAGE)]

    def edit(self, site: Site, hidden: Tensor, state: Any, valid: Tensor | None = None) -> Tensor:
        return F.interpolate(hidden, size=(self.pixels, self.pixels), mode="bilinear")

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction | None:
        return super().reduce(site, view, state) if self.keep is None else fixed(*self.keep)(view)


def tower(model: Model, pixels: Tensor, keep: list[int]) -> Tensor:
    """The tower on an edited picture with interpolated position embeddings; dropped patches are unseen."""
    x = oracle.patches(model, pixels, interpolate_pos_encoding=True)
    x = oracle.vit(model, x, 0, SOURCE + 1, gone={-1: set(range(len(x) - 1)) - set(keep)})
    return oracle.project(model, x[1:][keep])


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_smaller_and_larger_pictures_get_interpolated_positions(
    model: Model, inputs: Inputs, side: int
) -> None:
    got = answer(model, Smaller(14 * side), inputs)
    for b in range(2):
        pixels = F.interpolate(one(inputs, b)["pixel_values"], size=(14 * side, 14 * side), mode="bilinear")
        x, _ = prompt_of(model, inputs, b, tower(model, pixels, list(range(side**2))))
        close(got.logits[b], oracle.plain(model, x, got.tokens[b]))
    assert got.trace.vision == [[1 + side**2] * 4] * 2
    assert got.trace.projector == [side**2] * 2


def test_a_picture_can_be_smaller_and_pruned(model: Model, inputs: Inputs) -> None:
    got = answer(model, Smaller(42, (7, 0, 3)), inputs)
    for b in range(2):
        pixels = F.interpolate(one(inputs, b)["pixel_values"], size=(42, 42), mode="bilinear")
        x, _ = prompt_of(model, inputs, b, tower(model, pixels, [7, 0, 3]))
        close(got.logits[b], oracle.plain(model, x, got.tokens[b]))


@pytest.mark.parametrize("seed", range(3))
def test_patches_dropped_before_the_tower_are_never_seen(model: Model, inputs: Inputs, seed: int) -> None:
    keep = draw(5, PATCHES, seed)
    got = answer(model, plan((at(Place.IMAGE), fixed(*keep))), inputs)
    for b in range(2):
        x, _ = prompt_of(model, inputs, b, tower(model, one(inputs, b)["pixel_values"], keep))
        close(got.logits[b], oracle.plain(model, x, got.tokens[b]))


def test_pictures_may_keep_different_numbers_down_to_none(model: Model, inputs: Inputs) -> None:
    keeps: dict[str, list[int]] = {"0": [], "1": [14, 2, 6]}
    got = answer(model, plan((at(Place.IMAGE), ragged(keeps))), inputs)
    for b in range(2):
        x, _ = prompt_of(model, inputs, b, tower(model, one(inputs, b)["pixel_values"], keeps[str(b)]))
        close(got.logits[b], oracle.plain(model, x, got.tokens[b]))
    assert got.trace.vision == [[1] * 4, [4] * 4]


def test_no_visual_token_leaves_the_text_alone(model: Model, inputs: Inputs) -> None:
    got = answer(model, plan((at(Place.IMAGE), fixed())), inputs)
    for b in range(2):
        x, _ = prompt_of(model, inputs, b, torch.empty(0, 64))
        close(got.logits[b], oracle.plain(model, x, got.tokens[b]))
    assert got.trace.projector == [0, 0]
    assert got.trace.visual == [[0] * 4] * 2


def test_later_sites_rest_where_nothing_is_left(model: Model, inputs: Inputs) -> None:
    reducer = plan(
        (at(Place.IMAGE), fixed()), (at(Place.PROMPT, 1), fixed(0)), (at(Place.CACHE, 2), fixed(0))
    )
    got = answer(model, reducer, inputs)
    assert len(reducer.seen) == 1
    for b in range(2):
        x, _ = prompt_of(model, inputs, b, torch.empty(0, 64))
        close(got.logits[b], oracle.plain(model, x, got.tokens[b]))
