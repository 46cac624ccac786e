"""CACHE: a run that forgets keys = a run that caches nothing and masks what was forgotten, step by step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Place, Reduction, TokenView

from . import oracle
from .forgetting import AfterPrefill, Forget, once, others, per_head
from .lab import (
    LAYERS,
    PATCHES,
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
NEW = 6


@pytest.mark.parametrize("layer", [*range(LAYERS), -1])
@pytest.mark.parametrize("seed", range(2))
def test_what_the_prompt_leaves_is_unseen_by_the_answer_at_every_layer(
    model: Model, layer: int, seed: int
) -> None:
    inputs, keep = even() if seed else batch(), draw(4, PATCHES, seed)
    got = answer(model, plan((at(Place.CACHE, layer), once(fixed(*keep)))), inputs, NEW)
    for b in range(2):
        x, visual = prompt_of(model, inputs, b)
        policy = AfterPrefill({layer % LAYERS: [others(visual, keep)]})
        want = oracle.evicting(model, x, (), (), got.tokens[b], policy)
        close(got.logits[b], want)
        assert (want[1:] - oracle.plain(model, x, got.tokens[b])[1:]).abs().max() > 0.01


def test_samples_may_keep_different_numbers(model: Model, inputs: Inputs) -> None:
    keeps: dict[str, list[int]] = {"0": [4, 1, 15], "1": []}
    got = answer(model, plan(*((at(Place.CACHE, i), once(ragged(keeps))) for i in (0, 2))), inputs, NEW)
    for b in range(2):
        x, visual = prompt_of(model, inputs, b)
        policy = AfterPrefill({i: [others(visual, keeps[str(b)])] for i in (0, 2)})
        close(got.logits[b], oracle.evicting(model, x, (), (), got.tokens[b], policy))
    lengths = inputs["attention_mask"].sum(1).tolist()
    assert [row[0] for row in got.trace.cache] == [lengths[0] - 13 + NEW - 1, lengths[1] - 16 + NEW - 1]
    assert [row[1] for row in got.trace.cache] == [n + NEW - 1 for n in lengths]


@pytest.mark.parametrize("layer", [0, 3])
def test_each_group_of_heads_may_keep_its_own(model: Model, inputs: Inputs, layer: int) -> None:
    mine = [[0, 5, 9], [3, 5, 14]]
    got = answer(model, plan((at(Place.CACHE, layer), once(per_head(*mine)))), inputs, NEW)
    for b in range(2):
        x, visual = prompt_of(model, inputs, b)
        policy = AfterPrefill({layer: [others(visual, keep) for keep in mine]})
        close(got.logits[b], oracle.evicting(model, x, (), (), got.tokens[b], policy))


def test_heads_may_keep_different_numbers_and_agree_later(model: Model, inputs: Inputs) -> None:
    def act(view: TokenView) -> Reduction | None:
        if view.step == 0:
            valid = torch.tensor([[True, True, True], [True, False, False]])
            return Reduction(
                torch.tensor([[7, 2, 11], [4, 0, 0]]).expand(2, -1, -1), valid=valid.expand(2, -1, -1)
            )
        return (
            Reduction(torch.zeros(2, 1, dtype=torch.long)) if view.step == 2 else None
        )  # each head its first

    got = answer(model, plan((at(Place.CACHE, 1), act)), inputs, NEW)
    for b in range(2):
        x, visual = prompt_of(model, inputs, b)
        forget = Forget()

        def policy(
            layer: int, step: int, attention: Tensor, forget: Forget = forget, visual: range = visual
        ) -> Tensor:
            if layer == 1 and step == 0:
                forget.drop(1, [others(visual, [2, 7, 11]), others(visual, [4])])
            if layer == 1 and step == 2:
                forget.drop(1, [others(visual, [2]), others(visual, [4])])
            return forget.mask(layer, attention.shape[-1])

        close(got.logits[b], oracle.evicting(model, x, (), (), got.tokens[b], policy))


@pytest.mark.parametrize("layers", [(0,), (2,), tuple(range(LAYERS))])
def test_a_site_acts_again_after_every_step(model: Model, inputs: Inputs, layers: tuple[int, ...]) -> None:
    """Every step forgets the two oldest visual tokens."""
    steps: list[int] = []

    def act(view: TokenView) -> Reduction:
        steps.append(view.step)
        count = view.tokens.shape[1]
        return Reduction(torch.arange(2, count).expand(len(view.tokens), -1))

    got = answer(model, plan(*((at(Place.CACHE, i), act) for i in layers)), inputs, NEW)
    assert steps == sorted(list(range(NEW)) * len(layers))
    for b in range(2):
        x, visual = prompt_of(model, inputs, b)
        forget = Forget()

        def policy(
            layer: int, step: int, attention: Tensor, forget: Forget = forget, visual: range = visual
        ) -> Tensor:
            if layer in layers:
                forget.drop(layer, [set(visual[: 2 * (step + 1)])])
            return forget.mask(layer, attention.shape[-1])

        close(got.logits[b], oracle.evicting(model, x, (), (), got.tokens[b], policy))


@pytest.mark.parametrize("window", [0, 1, 4])
def test_scope_all_can_forget_text_and_answer(model: Model, inputs: Inputs, window: int) -> None:
    """A window over the latest tokens; none at all is allowed, too."""

    def act(view: TokenView) -> Reduction:
        last = torch.where(view.valid, view.position, -1).argsort(1, descending=True)[:, :window]
        return Reduction(last)

    got = answer(model, plan(*((at(Place.CACHE, i, scope="all"), act) for i in range(LAYERS))), inputs, NEW)
    for b in range(2):
        x, _ = prompt_of(model, inputs, b)

        def policy(layer: int, step: int, attention: Tensor) -> Tensor:
            n = attention.shape[-1]
            return torch.tensor([[t < n - window for t in range(n)]])

        close(got.logits[b], oracle.evicting(model, x, (), (), got.tokens[b], policy))
    assert got.trace.cache == [[window] * LAYERS] * 2
