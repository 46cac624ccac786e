"""H2O against the slow reference: one layer alone over many steps, and the tiny LLaVA end to end."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Place, Reducer, TokenView
from prunegrid.reduce.methods.h2o import H2O
from prunegrid.reduce.probe import Record
from prunegrid.shape import llava15_7b
from reduce import made, oracle
from reduce.lab import (
    LAYERS,
    PATCHES,
    Inputs,
    answer,
    at,
    batch,
    close,
    one,
    plan,
    prompt_of,
    ragged,
)
from reference import h2o as reference

pytestmark = pytest.mark.usefixtures("no_grad")
Model = LlavaForConditionalGeneration
NEW = 6
FOUR = batch((3, 7, 5, 1), 3, (2, 1, 4, 3))


def step_view(step: int, query: Tensor, keys: Tensor) -> TokenView:
    """query [B, H, Q, Dh], keys [B, G, n, Dh] of what the cache holds, in order."""
    batch, groups, length, _ = keys.shape
    spread = keys.repeat_interleave(query.shape[1] // groups, 1)
    column = torch.arange(length).expand(batch, -1)
    return TokenView(
        tokens=keys.transpose(1, 2).flatten(2),
        valid=torch.ones(batch, length, dtype=torch.bool),
        visual=torch.ones(batch, length, dtype=torch.bool),
        index=column,
        position=column,
        size=torch.ones(batch, length),
        prefix=torch.zeros(batch, 0, 4),
        ids=[str(b) for b in range(batch)],
        step=step,
        layer=0,
        keys={0: keys},
        records={0: Record(query, spread, spread, None, None, query.shape[-1] ** -0.5, step == 0)},
        columns={0: column},
    )


@pytest.mark.parametrize("heads", ["each", "shared"])
@pytest.mark.parametrize(
    ("samples", "length", "budgets"),
    [(1, 24, (0.5, 0.5)), (4, 40, (0.2, 0.3)), (2, 101, (0.1, 0.1)), (4, 33, (0.5, 0.5)), (3, 20, (4, 9))],
)
def test_one_layer_equals_the_loop_at_every_step(
    heads: Any, samples: int, length: int, budgets: tuple[float, float]
) -> None:
    g = torch.Generator().manual_seed(length)
    steps, width, groups = 7, 8, 2
    q = torch.randn(samples, 4, length + steps, width, generator=g, dtype=torch.float64)
    k = torch.randn(samples, groups, length + steps, width, generator=g, dtype=torch.float64) * 2
    heavy, recent = budgets
    size = (
        reference.budget(length, heavy, recent)
        if isinstance(heavy, float)
        else reference.Budget(int(heavy), int(recent))
    )
    want = [reference.simulate(q[b], k[b], length, size, heads == "shared") for b in range(samples)]
    reducer = H2O(heavy, recent, heads)
    site, memory = reducer.sites(llava15_7b())[0], reducer.start(None)  # type: ignore[arg-type]
    held = torch.arange(length).expand(samples, groups, -1)
    for step in range(steps + 1):
        now = length + step
        if step:
            held = torch.cat([held, torch.full((samples, groups, 1), now - 1)], 2)
        query = q[:, :, :length] if step == 0 else q[:, :, now - 1 : now]
        keys = k.gather(2, held[..., None].expand(-1, -1, -1, width))
        r = reducer.reduce(site, step_view(step, query, keys), memory)
        if r is not None:
            assert r.valid is None or bool(r.valid.all())
            keep = r.keep if r.keep.dim() == 3 else r.keep[:, None].expand(-1, groups, -1)
            held = held.gather(2, keep)
        for b in range(samples):
            assert held[b].tolist() == [s.kept for s in want[b][step]]
            for group, s in enumerate(want[b][step]):
                score = torch.tensor(list(s.scores.values()), dtype=torch.float32)
                torch.testing.assert_close(
                    memory.layers[0].scores[b, group].float(), score, atol=1e-4, rtol=1e-4
                )


@pytest.mark.parametrize("heads", ["each", "shared"])
@pytest.mark.parametrize("scope", ["all", "visual"])
@pytest.mark.parametrize("budgets", [(0.5, 0.5), (0.2, 0.1), (0.3, 0.0)])
@pytest.mark.parametrize("inputs", [batch(), FOUR, one(batch(), 0)], ids=["2", "4", "1"])
def test_the_model_answers_as_if_what_left_were_masked(
    model: Model, heads: Any, scope: Any, budgets: tuple[float, float], inputs: Inputs
) -> None:
    reducer = H2O(*budgets, heads, scope)
    got = answer(model, reducer, inputs, NEW)
    for b in range(len(inputs["input_ids"])):
        x, visual = prompt_of(model, inputs, b)
        alive = [torch.ones(len(x) + NEW, dtype=torch.bool)] * LAYERS
        policy = made.Evicting(reducer, visual if scope == "visual" else None, alive, len(x))
        close(got.logits[b], oracle.evicting(model, x, (), (), got.tokens[b], policy))
        assert got.trace.cache[b] == [policy.held[i] for i in range(LAYERS)]


def test_a_number_that_is_reached_later_by_shorter_samples(model: Model, inputs: Inputs) -> None:
    """25 tokens hold the longer prompt (of 22 and 25) exactly: what the padding got must not count for the answer."""
    reducer, new = H2O(22, 3), 12
    got = answer(model, reducer, inputs, new)
    assert inputs["attention_mask"].sum(1).tolist() == [22, 25]
    for b in range(2):
        x, _ = prompt_of(model, inputs, b)
        alive = [torch.ones(len(x) + new, dtype=torch.bool)] * LAYERS
        policy = made.Evicting(reducer, None, alive, len(x))
        close(got.logits[b], oracle.evicting(model, x, (), (), got.tokens[b], policy))
    assert got.trace.cache == [[25] * LAYERS] * 2


def test_after_a_ragged_prune_in_the_vision_tower(model: Model, inputs: Inputs) -> None:
    some = {"0": list(range(11)), "1": [0, 3, 4, 5, 9, 12]}
    reducer: Reducer = made.Chain(plan((at(Place.FEATURES), ragged(some))), H2O(0.3, 0.2))
    got = answer(model, reducer, inputs, NEW)
    for b in range(2):
        features = oracle.features(model, one(inputs, b)["pixel_values"], some[str(b)])
        x, _ = prompt_of(model, inputs, b, features)
        alive = [torch.ones(len(x) + NEW, dtype=torch.bool)] * LAYERS
        policy = made.Evicting(H2O(0.3, 0.2), None, alive, len(x))
        close(got.logits[b], oracle.evicting(model, x, (), (), got.tokens[b], policy))


def test_half_and_half_holds_the_cache_at_the_prompts_length(model: Model) -> None:
    """Nothing goes at prefill (even L); then one entry per token: 2 int(L / 2) entries, in the tensors too."""
    seen: list[list[tuple[int, ...]]] = []

    def look(_module: Any, _args: Any, kwargs: dict, _out: Any) -> None:
        seen.append([tuple(x.keys.shape) for x in kwargs["past_key_values"].layers])

    for lengths in ((5, 5), (4, 4)):
        inputs = batch(lengths, 1, (2, 2))
        prompt, seen = inputs["input_ids"].shape[1], []
        hook = model.model.language_model.layers[-1].register_forward_hook(look, with_kwargs=True)
        try:
            got = answer(model, H2O(0.5, 0.5), inputs, NEW)
        finally:
            hook.remove()
        held = 2 * int(prompt / 2)
        assert got.trace.cache == [[held] * LAYERS] * 2
        assert [s[-1][2] for s in seen] == [held] * NEW
        assert prompt == 3 + PATCHES + lengths[0]


def test_nothing_leaves_below_the_budget(model: Model, inputs: Inputs) -> None:
    plain = model.generate(**inputs, max_new_tokens=NEW, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    got = answer(model, H2O(20, 20), inputs, NEW)
    assert torch.equal(got.tokens, plain)
    assert got.trace.cache == [[n + NEW - 1] * LAYERS for n in inputs["attention_mask"].sum(1).tolist()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heavy": -1}, "at least 0"),
        ({"recent": 1.5}, r"must lie in \[0, 1\]"),
        ({"heavy": 0, "recent": 0}, "must be positive"),
        ({"heads": "some"}, "must be 'each' or 'shared'"),
        ({"scope": "text"}, "must be 'all' or 'visual'"),
    ],
)
def test_impossible_settings_name_the_range(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        H2O(**options)
