"""Training through a reduction: gradients, checkpointing, adapters, and the loss on the rows that are left."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Place, Probe, ReducedVLM, Reducer, Reduction, Site, TokenView

from . import oracle
from .lab import (
    IMAGE,
    PATCHES,
    Act,
    Inputs,
    Plan,
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

Model = LlavaForConditionalGeneration
MIX = torch.rand(5, 1 + PATCHES, generator=torch.Generator().manual_seed(0)).softmax(-1)
NEW = torch.rand(3, 8, generator=torch.Generator().manual_seed(1)).softmax(-1)


def mixing(weights: Tensor, *keep: int) -> Act:
    return lambda view: Reduction(torch.tensor(keep).expand(2, -1), weights.expand(2, -1, -1))


STEPS: dict[str, tuple[tuple[Site, Act], ...]] = {
    "none": (),
    "vision": ((at(Place.VISION, 1), fixed(0, 3, 9)),),
    "mid": ((at(Place.VISION, 1, mid=True, proportional=True), mixing(MIX, 0, 3, 9, -1, 12)),),
    "features": ((Site(Place.FEATURES, probe=Probe((1,))), mixing(MIX, 0, 3, 9, -1, 12)),),
    "embeds": ((at(Place.EMBEDS), fixed(4, 2)),),
    "prompt": ((Site(Place.PROMPT, 2, Probe((1,), queries="text")), fixed(0, 3, 9)),),
    "many": (
        (at(Place.VISION, 0), ragged({"0": range(12), "1": range(8)})),
        (at(Place.FEATURES), ragged({"0": [0, 1, 2, 3, 4, 5, 6, 7], "1": [0, 1, 2, 3, 4, 5, 6, 7]})),
        (at(Place.PROMPT, 1, positions="renumber"), mixing(NEW, 2, -1, 5)),
        (at(Place.PROMPT, 3), fixed(0, 2)),
    ),
}


def labels_of(inputs: Inputs, asked: int = 2) -> Tensor:
    """The text after the image, but for the first `asked` tokens of it."""
    ids = inputs["input_ids"]
    after = (ids == IMAGE).cumsum(1) == PATCHES
    after &= (after & (ids != IMAGE)).cumsum(1) > asked
    return ids.masked_fill(~after, -100)


def step(model: Any, reducer: Reducer, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of one step; backward runs after the call."""
    model.zero_grad()
    out, _ = ReducedVLM(model, reducer).forward(inputs, labels_of(inputs), ids=("0", "1"))
    assert out.loss is not None
    out.loss.backward()
    return out.loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.fixture(scope="module")
def trained(model: Model) -> Model:
    return copy.deepcopy(model).train()


@pytest.mark.parametrize("name", STEPS)
def test_gradients_reach_both_towers_and_the_projector(trained: Model, inputs: Inputs, name: str) -> None:
    _, grads = step(trained, plan(*STEPS[name]), inputs)
    for part in (
        "vision_tower.encoder.layers.0",
        "vision_tower.embeddings",
        "linear_1",
        "language_model.layers.3",
    ):
        assert any(part in n and g.abs().sum() > 0 for n, g in grads.items()), part
    assert all(bool(g.isfinite().all()) for g in grads.values())


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_neither_loss_nor_gradients_and_reduces_once(
    trained: Model, inputs: Inputs, name: str, reentrant: bool
) -> None:
    plainly, saving = plan(*STEPS[name]), plan(*STEPS[name])
    loss, grads = step(trained, plainly, inputs)
    trained.gradient_checkpointing_enable({"use_reentrant": reentrant})
    try:
        if reentrant:  # it needs an input that requires gradients
            trained.enable_input_require_grads()
        same, again = step(trained, saving, inputs)
    finally:
        trained.gradient_checkpointing_disable()
        if reentrant:
            trained.disable_input_require_grads()
    close(same, loss)
    assert len(saving.seen) == len(plainly.seen) == len(STEPS[name])
    for n in (
        grads if not reentrant else [n for n in grads if "language_model.layers" in n or "projector" in n]
    ):
        close(again[n], grads[n])


def test_adapters_train_through_a_reduction(model: Model, inputs: Inputs) -> None:
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], exclude_modules=".*vision_tower.*")
    adapted = get_peft_model(copy.deepcopy(model).train(), config)
    reducer = plan(*STEPS["many"])
    loss, grads = step(adapted, reducer, inputs)
    assert all("lora_" in n for n in grads)
    assert sum(g.abs().sum() > 0 for g in grads.values()) >= 8
    want, _ = step(copy.deepcopy(model).train(), plan(*STEPS["many"]), inputs)
    close(loss, want)  # an untrained adapter adds nothing
    got, fresh = (
        answer(adapted.eval(), plan(*STEPS["many"]), inputs),
        answer(model, plan(*STEPS["many"]), inputs),
    )
    close(got.logits, fresh.logits)
    with torch.no_grad():
        for n, p in adapted.named_parameters():
            if "lora_B" in n:
                p.normal_(std=0.5)
    assert (answer(adapted, plan(*STEPS["many"]), inputs).logits - fresh.logits).abs().max() > 0.01


# ---- the loss ------------------------------------------------------------------------------------------------
def by_hand(logits: list[Tensor], targets: list[Tensor]) -> Tensor:
    """Mean over all samples of -log p(target); logits [T, V] predict the token at the same index of targets."""
    losses = [
        F.cross_entropy(x, t, reduction="none", ignore_index=-100)
        for x, t in zip(logits, targets, strict=True)
    ]
    counted = sum(int((t != -100).sum()) for t in targets)
    return torch.stack([x.sum() for x in losses]).sum() / counted


def prompt_loss(model: Model, inputs: Inputs, stages: list[list[oracle.Stage]]) -> Tensor:
    """The loss on the text after the image, with dead visual tokens masked."""
    logits, targets = [], []
    for b, mine in enumerate(stages):
        x, visual = prompt_of(model, inputs, b)
        alive, position = oracle.survivors(model, len(x), visual, mine)
        full, _ = oracle.decode(model, x, [oracle.causal(a) for a in alive], position)
        labels = labels_of(inputs)[b, inputs["attention_mask"][b].bool()]
        # The token before the first label is text: which visual tokens are left changes no pair.
        logits.append(full[:-1])
        targets.append(labels[1:])
    return by_hand(logits, targets)


@pytest.mark.parametrize("layer", [0, 2, 3])
@pytest.mark.parametrize("renumber", [False, True])
def test_loss_on_kept_rows_is_the_loss_by_hand(
    model: Model, inputs: Inputs, layer: int, renumber: bool
) -> None:
    keeps = {"0": draw(3, PATCHES, 1), "1": draw(8, PATCHES, 2)}
    site = at(Place.PROMPT, layer, positions="renumber" if renumber else "keep")
    with torch.no_grad():
        got, _ = ReducedVLM(model, plan((site, ragged(keeps)))).forward(
            inputs, labels_of(inputs), ids=("0", "1")
        )
        close(got.loss, prompt_loss(model, inputs, [[(layer, keeps[b], renumber)] for b in ("0", "1")]))  # type: ignore[arg-type]


def test_loss_after_the_vision_side_is_the_loss_by_hand(model: Model, inputs: Inputs) -> None:
    keeps = {"0": [3, 9, 1], "1": draw(8, PATCHES, 2)}
    with torch.no_grad():
        reducer = plan((at(Place.FEATURES), ragged(keeps)))
        got, trace = ReducedVLM(model, reducer).forward(inputs, labels_of(inputs, asked=0), ids=("0", "1"))
        logits, targets = [], []
        for b in range(2):
            visual = oracle.features(model, one(inputs, b)["pixel_values"], keeps[str(b)])
            x, where = prompt_of(model, inputs, b, visual)
            alive, order = oracle.survivors(model, len(x), (), ())
            full, _ = oracle.decode(model, x, [oracle.causal(a) for a in alive], order)
            ids = one(inputs, b)["input_ids"][0]
            logits.append(full[where.stop - 1 : -1])  # the last visual token predicts the first word
            targets.append(ids[where.start + PATCHES :])
        close(got.loss, by_hand(logits, targets))  # type: ignore[arg-type]
    assert trace.cache == [] and trace.new_tokens == []
    assert got.logits is not None and got.logits.shape[:2] == (2, max(row[-1] for row in trace.prompt))


def test_logits_of_one_pass_are_those_of_the_first_step(model: Model, inputs: Inputs) -> None:
    for steps in STEPS.values():
        with torch.no_grad():
            out, trace = ReducedVLM(model, plan(*steps)).forward(inputs, ids=("0", "1"))
        got = answer(model, plan(*steps), inputs, new=1)
        assert out.loss is None and out.logits is not None
        close(out.logits[:, -1], got.logits[:, 0])
        assert trace.prompt == got.trace.prompt and trace.kept == got.trace.kept


def test_without_a_reduction_the_loss_is_that_of_transformers(trained: Model, inputs: Inputs) -> None:
    loss, grads = step(trained, Reducer(), inputs)
    trained.zero_grad()
    want = trained(**inputs, labels=labels_of(inputs)).loss
    want.backward()
    close(loss, want.detach())
    for n, p in trained.named_parameters():
        if p.grad is not None:
            close(grads[n], p.grad)


def test_the_cache_place_rests_in_training(trained: Model, inputs: Inputs) -> None:
    reducer: Plan = plan((at(Place.CACHE, 1), fixed(0)))
    loss, _ = step(trained, reducer, inputs)
    assert not reducer.seen
    close(loss, step(trained, Reducer(), inputs)[0])


def test_views_of_a_training_step_carry_gradients(trained: Model, inputs: Inputs) -> None:
    """A method may weight tokens by something learned from them."""

    def soft(view: TokenView) -> Reduction:
        weights = (view.tokens @ view.tokens.mean(1, keepdim=True).transpose(1, 2)).squeeze(2).softmax(1)
        return Reduction(torch.tensor([[-1]] * 2), torch.cat([torch.zeros(2, 1), weights], 1)[:, None])

    _, grads = step(trained, plan((at(Place.FEATURES), soft)), inputs)
    assert any("vision_tower" in n and g.abs().sum() > 0 for n, g in grads.items())
