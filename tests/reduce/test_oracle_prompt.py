"""PROMPT: a run pruned before LLM layer k = the full run with masked keys from layer k on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Place, Reduction, TokenView

from . import oracle
from .lab import (
    LAYERS,
    PATCHES,
    Act,
    Inputs,
    answer,
    at,
    batch,
    close,
    draw,
    even,
    fixed,
    plan,
    prompt_of,
    ragged,
)

pytestmark = pytest.mark.usefixtures("no_grad")
Model = LlavaForConditionalGeneration


def check(
    model: Model, inputs: Inputs, got: Tensor, tokens: Tensor, stages: list[list[oracle.Stage]]
) -> None:
    """stages[b] of sample b, over its visual tokens."""
    for b, mine in enumerate(stages):
        x, visual = prompt_of(model, inputs, b)
        close(got[b], oracle.masked(model, x, visual, mine, tokens[b]))


@pytest.mark.parametrize("layer", range(LAYERS))
@pytest.mark.parametrize("positions", ["keep", "renumber"])
@pytest.mark.parametrize("seed", range(2))
def test_dropped_tokens_are_masked_keys_at_every_layer(
    model: Model, layer: int, positions: str, seed: int
) -> None:
    inputs, keep = even() if seed else batch(), draw(5, PATCHES, seed)
    site = at(Place.PROMPT, layer, positions=positions)
    got = answer(model, plan((site, fixed(*keep))), inputs)
    check(model, inputs, got.logits, got.tokens, [[(layer, keep, positions == "renumber")]] * 2)
    everything = answer(model, plan(), inputs)
    assert (got.logits[:, 0] - everything.logits[:, 0]).abs().max() > 0.01, (
        "the oracle would not see a difference"
    )


@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("positions", ["keep", "renumber"])
def test_samples_may_keep_different_numbers(model: Model, inputs: Inputs, layer: int, positions: str) -> None:
    keeps = {"0": draw(3, PATCHES, 5), "1": draw(9, PATCHES, 6)}
    site = at(Place.PROMPT, layer, positions=positions)
    got = answer(model, plan((site, ragged(keeps))), inputs)
    check(
        model,
        inputs,
        got.logits,
        got.tokens,
        [[(layer, keeps[b], positions == "renumber")] for b in ("0", "1")],
    )


def test_order_of_keep_means_nothing_inside_the_language_model(model: Model, inputs: Inputs) -> None:
    forth = answer(model, plan((at(Place.PROMPT, 1), fixed(2, 3, 11))), inputs)
    back = answer(model, plan((at(Place.PROMPT, 1), fixed(11, 2, 3))), inputs)
    assert torch.equal(forth.logits, back.logits)


@pytest.mark.parametrize("renumber", [(False, False), (True, False), (False, True), (True, True)])
def test_two_stages_with_ragged_counts(model: Model, inputs: Inputs, renumber: tuple[bool, bool]) -> None:
    first = {"0": draw(10, PATCHES, 1), "1": draw(7, PATCHES, 2)}
    second = {"0": [0, 4, 9], "1": [1, 2, 3, 6]}
    sites = [
        at(Place.PROMPT, layer, positions="renumber" if anew else "keep")
        for layer, anew in zip((1, 3), renumber, strict=True)
    ]
    got = answer(model, plan((sites[0], ragged(first)), (sites[1], ragged(second))), inputs)
    stages: list[list[oracle.Stage]] = [
        [(1, first[b], renumber[0]), (3, second[b], renumber[1])] for b in ("0", "1")
    ]
    check(model, inputs, got.logits, got.tokens, stages)


def test_two_sites_at_one_layer_act_one_after_the_other(model: Model, inputs: Inputs) -> None:
    steps = (
        (at(Place.PROMPT, 2), fixed(*range(0, 16, 2))),
        (at(Place.PROMPT, 2, positions="renumber"), fixed(1, 5)),
    )
    got = answer(model, plan(*steps), inputs)
    check(model, inputs, got.logits, got.tokens, [[(2, range(0, 16, 2), False), (2, [1, 5], True)]] * 2)


@pytest.mark.parametrize("layer", [0, 2])
def test_no_visual_token_may_stay(model: Model, inputs: Inputs, layer: int) -> None:
    got = answer(model, plan((at(Place.PROMPT, layer), fixed()), (at(Place.PROMPT, 3), fixed(0))), inputs)
    check(model, inputs, got.logits, got.tokens, [[(layer, [], False)]] * 2)


@pytest.mark.parametrize("layer", [0, 1, 3])
@pytest.mark.parametrize("positions", ["keep", "renumber"])
def test_scope_all_drops_text_too_but_never_the_last_token(
    model: Model, inputs: Inputs, layer: int, positions: str
) -> None:
    counts = inputs["attention_mask"].sum(1).tolist()
    keeps = {str(b): draw(8, n - 1, b) for b, n in enumerate(counts)}
    reducer = plan((at(Place.PROMPT, layer, scope="all", positions=positions), ragged(keeps)))
    got = answer(model, reducer, inputs)
    for b, count in enumerate(counts):
        assert int(reducer.seen[0].valid[b].sum()) == count, "the last token may be read"
        x, _ = prompt_of(model, inputs, b)
        stage = (layer, keeps[str(b)], positions == "renumber")
        close(got.logits[b], oracle.masked(model, x, range(count - 1), [stage], got.tokens[b]))


# ---- tokens that are rewritten -------------------------------------------------------------------------------
def mixing(keep: list[int], count: int, seed: int) -> Tensor:
    """Random rows [n, count]: what each survivor is made of."""
    return torch.rand(len(keep), count, generator=torch.Generator().manual_seed(seed)).softmax(-1)


def merged(keep: list[int], weights: Tensor, position: list[int] | None = None) -> Act:
    def act(view: TokenView) -> Reduction:
        size = (len(view.tokens), -1)
        where = None if position is None else torch.tensor(position).expand(*size)
        return Reduction(torch.tensor(keep).expand(*size), weights.expand(size[0], -1, -1), position=where)

    return act


def block(keep: list[int], weights: Tensor, given: list[int] | None = None) -> oracle.Block:
    """The same on one sample: mixed tokens where their representatives stood, new ones behind the last."""

    def stage(hidden: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        mixed = weights @ hidden
        old = sorted((k, j) for j, k in enumerate(keep) if k >= 0)
        order = [j for _, j in old] + [j for j, k in enumerate(keep) if k < 0]
        own = [int(position[k]) if k >= 0 else int(position[-1]) for k in keep]
        where = own if given is None else given
        return mixed[order], torch.tensor([where[j] for j in order])

    return stage


@pytest.mark.parametrize("layer", range(LAYERS))
@pytest.mark.parametrize("keep", [[9, 1, 4], [1, -1, 15], [3, -1, 15, -1], [-1, -1]])
def test_survivors_may_be_mixtures_and_new_tokens(
    model: Model, inputs: Inputs, layer: int, keep: list[int]
) -> None:
    weights = mixing(keep, PATCHES, layer)
    got = answer(model, plan((at(Place.PROMPT, layer), merged(keep, weights))), inputs)
    for b in range(2):
        x, visual = prompt_of(model, inputs, b)
        close(got.logits[b], oracle.rebuilt(model, x, visual, {layer: block(keep, weights)}, got.tokens[b]))


def test_two_stages_of_new_tokens_stay_causal(model: Model, inputs: Inputs) -> None:
    first, second = [2, -1, 15, -1, 7], [-1, 4, 1, 0]  # column 4 = the second new token of the first stage
    weights = mixing(first, PATCHES, 1), mixing(second, 5, 2)
    steps = (
        (at(Place.PROMPT, 1), merged(first, weights[0])),
        (at(Place.PROMPT, 3), merged(second, weights[1])),
    )
    got = answer(model, plan(*steps), inputs)
    for b in range(2):
        x, visual = prompt_of(model, inputs, b)
        stages = {1: block(first, weights[0]), 3: block(second, weights[1])}
        close(got.logits[b], oracle.rebuilt(model, x, visual, stages, got.tokens[b]))


def test_a_method_may_assign_positions_itself(model: Model, inputs: Inputs) -> None:
    keep, given = [8, 2, -1, 5], [3, 30, 11, 4]
    weights = mixing(keep, PATCHES, 3)
    got = answer(model, plan((at(Place.PROMPT, 2), merged(keep, weights, given))), inputs)
    for b in range(2):
        x, visual = prompt_of(model, inputs, b)
        close(
            got.logits[b], oracle.rebuilt(model, x, visual, {2: block(keep, weights, given)}, got.tokens[b])
        )


def test_sizes_follow_groups_into_the_next_stage(model: Model, inputs: Inputs) -> None:
    def pairs(view: TokenView) -> Reduction:
        keep = torch.arange(0, PATCHES, 2).expand(len(view.tokens), -1)
        return Reduction(
            keep, group=torch.arange(PATCHES).div(2, rounding_mode="floor").expand(len(view.tokens), -1)
        )

    reducer = plan((at(Place.PROMPT, 1), pairs), (at(Place.PROMPT, 2), fixed(0, 1)))
    got = answer(model, reducer, inputs)
    assert reducer.seen[1].size.tolist() == [[2.0] * 8] * 2
    assert reducer.seen[1].index.tolist() == [list(range(0, PATCHES, 2))] * 2
    check(model, inputs, got.logits, got.tokens, [[(1, range(0, 16, 2), False), (2, [0, 1], False)]] * 2)
