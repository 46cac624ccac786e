"""VISION: a ViT pruned after (or inside) layer k = the full ViT with masked patches from layer k + 1 on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Place, Probe, Reduction, TokenView

from . import oracle
from .lab import (
    PATCHES,
    SOURCE,
    Act,
    Answer,
    Inputs,
    answer,
    at,
    batch,
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
Visual = Callable[[Tensor, str], Tensor]  # pixels [1, 3, h, w] and sample id -> visual tokens [n, D]


def check(model: Model, inputs: Inputs, got: Answer, visual: Visual) -> None:
    for b in range(len(got.tokens)):
        x, _ = prompt_of(model, inputs, b, visual(one(inputs, b)["pixel_values"], str(b)))
        close(got.logits[b], oracle.plain(model, x, got.tokens[b]))


def rest(keep: list[int]) -> set[int]:
    return set(range(PATCHES)) - set(keep)


@pytest.mark.parametrize("layer", range(SOURCE + 1))
@pytest.mark.parametrize("mid", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_dropped_patches_are_masked_keys_at_every_layer(
    model: Model, layer: int, mid: bool, seed: int
) -> None:
    inputs, keep = batch(seed=seed), draw(6, PATCHES, seed)
    got = answer(model, plan((at(Place.VISION, layer, mid=mid), fixed(*keep))), inputs)
    check(model, inputs, got, lambda px, _: oracle.features(model, px, keep, gone={layer: rest(keep)}))
    unmasked = oracle.features(model, one(inputs, 0)["pixel_values"], keep)
    masked = oracle.features(model, one(inputs, 0)["pixel_values"], keep, gone={layer: rest(keep)})
    assert layer == SOURCE or (unmasked - masked).abs().max() > 0.01, "the oracle would not see a difference"


@pytest.mark.parametrize("layer", range(SOURCE + 1))
@pytest.mark.parametrize("mid", [False, True])
def test_pictures_may_keep_different_numbers(model: Model, inputs: Inputs, layer: int, mid: bool) -> None:
    keeps = {"0": draw(9, PATCHES, 1), "1": draw(4, PATCHES, 2)}
    got = answer(model, plan((at(Place.VISION, layer, mid=mid), ragged(keeps))), inputs)
    check(
        model, inputs, got, lambda px, b: oracle.features(model, px, keeps[b], gone={layer: rest(keeps[b])})
    )


def test_negative_layers_count_from_the_end(model: Model, inputs: Inputs) -> None:
    counted = answer(model, plan((at(Place.VISION, -3), fixed(1, 2, 8))), inputs)
    named = answer(model, plan((at(Place.VISION, 1), fixed(1, 2, 8))), inputs)
    assert torch.equal(counted.logits, named.logits)
    assert counted.trace == named.trace


def test_output_order_is_the_order_of_the_visual_tokens(model: Model, inputs: Inputs) -> None:
    keep = [11, 3, 7, 0]
    got = answer(model, plan((at(Place.VISION, 1), fixed(*keep))), inputs)
    check(model, inputs, got, lambda px, _: oracle.features(model, px, keep, gone={1: rest(keep)}))
    raster = answer(model, plan((at(Place.VISION, 1), fixed(*sorted(keep)))), inputs)
    assert (got.logits - raster.logits).abs().max() > 0.01


def test_two_stages_with_ragged_counts(model: Model, inputs: Inputs) -> None:
    first = {"0": draw(12, PATCHES, 1), "1": draw(7, PATCHES, 2)}
    second = {"0": [0, 3, 8, 11], "1": [1, 2, 3, 4, 6]}
    got = answer(
        model,
        plan((at(Place.VISION, 0), ragged(first)), (at(Place.VISION, 1, mid=True), ragged(second))),
        inputs,
    )

    def visual(pixels: Tensor, b: str) -> Tensor:
        keep = [first[b][k] for k in second[b]]
        return oracle.features(model, pixels, keep, gone={0: rest(first[b]), 1: set(first[b]) - set(keep)})

    check(model, inputs, got, visual)


def test_vision_then_features(model: Model, inputs: Inputs) -> None:
    first, second = draw(10, PATCHES, 3), [9, 0, 4]
    got = answer(
        model, plan((at(Place.VISION, 0), fixed(*first)), (at(Place.FEATURES), fixed(*second))), inputs
    )
    keep = [first[k] for k in second]
    check(model, inputs, got, lambda px, _: oracle.features(model, px, keep, gone={0: rest(first)}))


# ---- merging -------------------------------------------------------------------------------------------------
KEEP = [0, 6, -1, 13]
WEIGHTS = torch.rand(4, 1 + PATCHES, generator=torch.Generator().manual_seed(3)).softmax(
    -1
)  # CLS may be mixed in
GROUP = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, -1])  # of each old patch
SIZES = torch.tensor([4.0, 4.0, 4.0, 3.0])


def merge(valid: dict[str, int] | None = None) -> Act:
    """`valid`: how many of the four survivors a sample has."""

    def act(view: TokenView) -> Reduction:
        n = len(view.tokens)
        real = None
        if valid is not None:
            real = torch.stack([torch.arange(4) < valid[i] for i in view.ids])
        return Reduction(
            torch.tensor(KEEP).expand(n, -1), WEIGHTS.expand(n, -1, -1), valid=real, group=GROUP.expand(n, -1)
        )

    return act


def merged(model: Model, pixels: Tensor, at_layer: int, mid: bool, biased: bool, count: int = 4) -> Tensor:
    """The tower by hand: tokens become mixtures after (or inside) `at_layer`; later layers add log(size)."""
    x, bias = oracle.patches(model, pixels), torch.zeros(1)
    for i, layer in enumerate(model.model.vision_tower.encoder.layers[: SOURCE + 1]):
        x, _ = oracle.vit_attention(layer, x, bias=bias)
        if i == at_layer and mid:
            x = torch.cat([x[:1], WEIGHTS[:count] @ x])
        x = oracle.vit_mlp(layer, x)
        if i == at_layer and not mid:
            x = torch.cat([x[:1], WEIGHTS[:count] @ x])
        if i == at_layer and biased:
            bias = torch.cat([torch.zeros(1), SIZES[:count].log()])
    return oracle.project(model, x[1:])


@pytest.mark.parametrize("layer", range(SOURCE + 1))
@pytest.mark.parametrize("mid", [False, True])
@pytest.mark.parametrize("proportional", [False, True])
def test_merged_tokens_and_proportional_attention(
    model: Model, inputs: Inputs, layer: int, mid: bool, proportional: bool
) -> None:
    got = answer(model, plan((at(Place.VISION, layer, mid=mid, proportional=proportional), merge())), inputs)
    check(model, inputs, got, lambda px, _: merged(model, px, layer, mid, proportional))


def test_merging_inside_a_block_differs_from_merging_after_it(model: Model, inputs: Inputs) -> None:
    pixels = one(inputs, 0)["pixel_values"]
    inside, after = (merged(model, pixels, 1, mid, False) for mid in (True, False))
    assert (inside - after).abs().max() > 0.01
    with_sizes = merged(model, pixels, 1, False, True)
    assert (with_sizes - after).abs().max() > 0.01


def test_proportional_attention_in_a_ragged_batch(model: Model, inputs: Inputs) -> None:
    count = {"0": 2, "1": 4}
    got = answer(model, plan((at(Place.VISION, 0, mid=True, proportional=True), merge(count))), inputs)
    check(model, inputs, got, lambda px, b: merged(model, px, 0, True, True, count[b]))


def test_later_sites_see_sizes_and_patch_ids(model: Model, inputs: Inputs) -> None:
    reducer = plan(
        (at(Place.VISION, 0), merge()), (at(Place.FEATURES, probe=Probe((1,), keys=True)), fixed(3, 1))
    )
    got = answer(model, reducer, inputs)
    late = reducer.seen[1]
    assert late.size.tolist() == [SIZES.tolist()] * 2
    assert late.index.tolist() == [KEEP] * 2
    assert late.keys[1].shape == (2, 4, 4, 8)
    assert got.trace.kept == {"vision0": [KEEP] * 2, "features": [[13, 6]] * 2}
