"""Which patches are in which token: what is followed on the host is what the tensors went through."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Place, Reduction, TokenView
from prunegrid.reduce.members import Step, followed
from prunegrid.reduce.ops import apply
from prunegrid.reduce.view import Bags
from test_contract import DEPTH, REDUCERS, made, model_of, tiny_shape

from . import clip, lab
from .forgetting import once, per_head
from .lab import KV_HEADS, LAYERS, PATCHES, Act, Inputs, answer, at, fixed, one, plan, ragged

pytestmark = pytest.mark.usefixtures("no_grad")
Model = LlavaForConditionalGeneration
BATCH, PREFIX = 2, 1


def selecting(count: int, g: torch.Generator) -> Reduction:
    keep = torch.stack([torch.randperm(count, generator=g)[: count - 2] for _ in range(BATCH)])
    return Reduction(keep)


def weighing(count: int, g: torch.Generator) -> Reduction:
    """Rows in which about half of all tokens take part, the prefix too."""
    weights = torch.rand(BATCH, count - 1, PREFIX + count, generator=g)
    keep = torch.randint(-1, count, (BATCH, count - 1), generator=g)
    return Reduction(keep, weights * (weights > 0.5))


def bagging(count: int, g: torch.Generator) -> Reduction:
    """Bags of unequal length, an empty one too; tokens may be in several, some with no share."""
    source = torch.randint(count, (BATCH, 3 * count), generator=g)
    share = torch.rand(BATCH, 3 * count, generator=g)
    start = torch.tensor([0, 0, 4, 5, count]).expand(BATCH, -1)
    return Reduction(torch.full((BATCH, 5), -1), bags=Bags(source, share * (share > 0.3), start))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "kinds", [(weighing, selecting, bagging), (bagging, weighing), (selecting, bagging, selecting)]
)
def test_members_are_the_patches_that_reach_a_token(kinds: tuple[Any, ...], seed: int) -> None:
    """Indicator tokens go through the very products that real ones go through."""
    g, count = torch.Generator().manual_seed(seed), 9
    x = torch.eye(count).expand(BATCH, -1, -1)
    members = [[frozenset({i}) for i in range(count)] for _ in range(BATCH)]
    steps = []
    for kind in kinds:
        r = kind(x.shape[1], g)
        steps.append(Step(r, torch.ones(x.shape[:2], dtype=torch.bool), PREFIX))
        x = apply(r, x, torch.zeros(BATCH, PREFIX, count))
    want = [[frozenset(row.nonzero().flatten().tolist()) for row in sample] for sample in x]
    assert followed(members, steps) == want


def mixing(*rows: tuple[int, tuple[int, ...]]) -> Act:
    """(keep, tokens that are mixed into it), the same for every sample."""

    def act(view: TokenView) -> Reduction:
        batch, count = view.tokens.shape[:2]
        weights = torch.zeros(batch, len(rows), view.prefix.shape[1] + count)
        for s, (_, tokens) in enumerate(rows):
            weights[:, s, [view.prefix.shape[1] + t for t in tokens]] = 0.5
        keep = torch.tensor([k for k, _ in rows]).expand(batch, -1)
        return Reduction(keep, weights)

    return act


def test_mixtures_are_followed_from_the_tower_through_the_language_model(
    model: Model, inputs: Inputs
) -> None:
    """Everything by hand: ragged selection, a mixture, a selection in the language model, a mixture with a new token."""
    first = {"0": [1, 3, 5, 7, 9], "1": [0, 2, 4, 6]}
    reducer = plan(
        (at(Place.VISION, 1), ragged(first)),
        (at(Place.FEATURES), mixing((2, (2, 0)), (-1, (1, 3)), (0, (0,)))),
        (at(Place.PROMPT, 1), fixed(2, 0)),
        (at(Place.PROMPT, 2), mixing((0, (0, 1)), (-1, (1,)))),
    )
    trace = answer(model, reducer, inputs).trace
    for b, patches in enumerate(first.values()):
        p = patches
        # features: [p2 of {p2, p0}, new of {p1, p3}, p0 of {p0}]; prompt 1 keeps the first and the last, in order
        assert trace.kept["features"][b] == [p[2], -1, p[0]]
        assert trace.kept["prompt1"][b] == [p[2], p[0]]
        assert trace.kept["prompt2"][b] == [p[2], -1]
        assert trace.members[b] == [sorted({p[0], p[2]}), [p[0]]]


def test_a_sample_has_its_members_whatever_it_stands_beside(model: Model, inputs: Inputs) -> None:
    steps = (
        (at(Place.VISION, 1), ragged({"0": [1, 3, 5, 7, 9], "1": [0, 2, 4, 6]})),
        (at(Place.PROMPT, 2), mixing((0, (0, 1)), (3, (2, 3)))),
    )
    both = answer(model, plan(*steps), inputs).trace
    assert both.members == [[[1, 3], [5, 7]], [[0, 2], [4, 6]]]
    for b in range(2):
        alone = answer(model, plan(*steps), one(inputs, b), ids=[str(b)]).trace
        assert alone.sample(0) == both.sample(b)


def test_single_patches_say_nothing_more(model: Model, inputs: Inputs) -> None:
    reducer = plan((at(Place.FEATURES), fixed(7, 1)), (at(Place.PROMPT, 2), fixed(0)))
    row = answer(model, reducer, inputs).trace.sample(0)
    assert "members" not in row and "cached" not in row


@pytest.mark.parametrize("name", REDUCERS)
def test_every_method_says_what_its_tokens_hold(name: str) -> None:
    """As many lists as tokens at the end, and no patch that there is not; mixed ones alone have them."""
    model, inputs = lab.tiny(layers=DEPTH), lab.batch()
    reducer = made(name, model_of(tiny_shape()))
    trace = answer(model, reducer, inputs, new=2, prompt=clip.told(inputs, lab.IMAGE)).trace
    for b, members in enumerate(trace.members):
        assert len(members) == trace.visual[b][-1]
        assert all(0 <= i < PATCHES for each in members for i in each)
    ends = [rows for rows in trace.kept.values() if rows[0]][-1:]
    mixed = any(-1 in row for rows in ends for row in rows)
    assert trace.members or not mixed


def test_what_the_cache_holds_is_a_share_of_layers_and_heads(model: Model, inputs: Inputs) -> None:
    reducer = plan(
        (at(Place.FEATURES), fixed(4, 8, 12)),
        (at(Place.CACHE, 1), once(per_head((0, 1), (0, 2)))),
        (at(Place.CACHE, 3), once(fixed(2))),
    )
    trace = answer(model, reducer, inputs).trace
    pairs = LAYERS * KV_HEADS
    # 4 layers of 2 heads: layers 0 and 2 hold all; layer 1 holds 4 twice, 8 and 12 once; layer 3 holds 12 alone
    want = {4: 4 + 2, 8: 4 + 1, 12: 4 + 1 + 2}
    for row in trace.cached:
        assert row == [round(100 * want.get(i, 0) / pairs) for i in range(PATCHES)]


def test_later_steps_do_not_change_what_prefill_left(model: Model, inputs: Inputs) -> None:
    def every(view: TokenView) -> Reduction:
        n = view.tokens.shape[1]
        kept: Tensor = torch.arange(1, n) if n > 1 else torch.arange(n)
        return Reduction(kept.expand(len(view.tokens), -1))

    traces = [answer(model, plan((at(Place.CACHE, 1), every)), inputs, new=n).trace for n in (1, 5)]
    assert traces[0].cached == traces[1].cached != []
