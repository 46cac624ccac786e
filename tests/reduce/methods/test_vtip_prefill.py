"""VTIP's prose, which prunes before the answer begins: the prompt cut at the language model's door, or each layer's
cache after prefill. Against the slow reference and against full runs whose lost tokens are masked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import TokenView
from prunegrid.reduce.methods.h2o import H2O
from prunegrid.reduce.methods.vtip import VTIP, importance
from prunegrid.shape import llava15_7b
from reduce import made, oracle
from reduce.lab import LAYERS, PATCHES, Inputs, answer, batch, close, one, prompt_of
from reference import vtip as reference

pytestmark = pytest.mark.usefixtures("no_grad")
Model = LlavaForConditionalGeneration
NEW = 5
FOUR = batch((3, 7, 5, 1), 3, (2, 1, 4, 3))


def embeddings(counts: list[int], width: int = 24) -> list[Tensor]:
    """Heavy-tailed: a few tokens are far longer than the others, and all lean to one side."""
    g = torch.Generator().manual_seed(sum(counts))
    return [
        (torch.randn(n, width, generator=g, dtype=torch.float64) + 0.3)
        * torch.rand(n, 1, generator=g, dtype=torch.float64).clamp_min(0.05) ** -0.5
        for n in counts
    ]


def view(samples: list[Tensor], visual: list[range]) -> TokenView:
    """All tokens at the language model's door, real ones first; the padding is the loudest of all."""
    most = max(map(len, samples))
    place = torch.arange(most).expand(len(samples), -1)
    counts = torch.tensor([len(x) for x in samples])
    tokens = torch.stack([torch.cat([x, x.new_full((most - len(x), x.shape[1]), 50.0)]) for x in samples])
    seen = torch.stack([(place[0] >= v.start) & (place[0] < v.stop) for v in visual])
    return TokenView(
        tokens=tokens,
        valid=place < counts[:, None],
        visual=seen,
        index=place,
        position=place,
        size=torch.ones(seen.shape),
        prefix=tokens[:, :0],
        ids=[str(b) for b in range(len(samples))],
    )


@pytest.mark.parametrize("counts", [[1], [2], [24], [40, 17, 31, 1], [140, 3]], ids=str)
def test_importance_equals_the_loop(counts: list[int]) -> None:
    """140 tokens are more than one block of rows."""
    samples = embeddings(counts)
    seen = view(samples, [range(0)] * len(counts))
    got = importance(seen.tokens, seen.valid)
    for b, x in enumerate(samples):
        want = torch.tensor(reference.importance(x), dtype=torch.float32)
        torch.testing.assert_close(got[b, : len(x)], want, rtol=1e-4, atol=1e-5)
        assert not got[b, len(x) :].any()
        assert float(got[b].sum()) == pytest.approx(len(x) - 1, rel=1e-4), "each but the first shares out 1"


@pytest.mark.parametrize("scope", ["all", "visual"])
@pytest.mark.parametrize("budgets", [(6, 5), (11, 1), (0, 4), (19, 4), (20, 20)])
@pytest.mark.parametrize("counts", [[24], [40, 33, 21, 26], [90, 45]], ids=str)
def test_the_cut_equals_the_loop(scope: Any, budgets: tuple[int, int], counts: list[int]) -> None:
    samples = embeddings(counts)
    visual = [range(2 + b, len(x) - 5) for b, x in enumerate(samples)]
    reducer = VTIP("second", heavy=budgets[0], recent=budgets[1], scope=scope, prefill="tokens")
    site, seen = reducer.sites(llava15_7b())[0], view(samples, visual)
    r = reducer.reduce(site, seen, None)
    want = [
        reference.cut(x, *budgets, scope=list(v) if scope == "visual" else None)
        for x, v in zip(samples, visual, strict=True)
    ]
    if r is None:
        assert want == [list(range(len(x))) for x in samples]
    else:
        assert made.kept(r) == want
        assert r.note["weighed"].tolist() == [n * (n > sum(budgets)) for n in counts]


def door(reducer: VTIP, x: Tensor, visual: range) -> list[int]:
    """Who of the embedded prompt [T, D] enters the language model."""
    assert isinstance(reducer.heavy, int) and isinstance(reducer.recent, int)
    scope = list(visual) if reducer.scope == "visual" else None
    return reference.cut(x, reducer.heavy, reducer.recent, scope)


@pytest.mark.parametrize("heads", ["each", "shared"])
@pytest.mark.parametrize(
    "options",
    [{"heavy": 9, "recent": 4}, {"heavy": 1, "recent": 2}, {"heavy": 3, "recent": 2, "scope": "visual"},
     {"heavy": 20, "recent": 3}, {"heavy": 40, "recent": 40}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("inputs", [batch(), one(batch(), 1), FOUR], ids=["2", "1", "4"])
def test_the_model_answers_as_if_what_was_cut_were_masked(
    model: Model, heads: Any, options: dict[str, Any], inputs: Inputs
) -> None:
    """And from then on each layer's cache holds M + N tokens, the newest included."""
    reducer = VTIP("second", heads=heads, prefill="tokens", **options)
    got = answer(model, reducer, inputs, NEW)
    for b in range(len(inputs["input_ids"])):
        x, visual = prompt_of(model, inputs, b)
        stays = door(reducer, x, visual)
        stages = [(0, stays, False)]
        alive, _ = oracle.survivors(model, len(x) + NEW, range(len(x)), stages)
        scope = visual if reducer.scope == "visual" else None
        policy = made.Evicting(reducer.cache, scope, alive, len(x))
        close(got.logits[b], oracle.evicting(model, x, range(len(x)), stages, got.tokens[b], policy))
        assert got.trace.prompt[b] == [len(stays)] * LAYERS
        assert got.trace.kept["prompt0"][b] == [t - visual.start for t in stays if t in visual]
        assert got.trace.cache[b] == [policy.held[i] for i in range(LAYERS)]


def test_padding_lends_no_score_to_the_answer(model: Model, inputs: Inputs) -> None:
    """22 tokens stay 22, of 25 stay 23: the first new token of the shorter sample takes the place of its padding."""
    reducer, new = VTIP("second", heavy=20, recent=3, prefill="tokens"), 12
    got = answer(model, reducer, inputs, new)
    assert got.trace.prompt == [[22] * LAYERS, [23] * LAYERS]
    for b in range(2):
        x, visual = prompt_of(model, inputs, b)
        stages = [(0, door(reducer, x, visual), False)]
        alive, _ = oracle.survivors(model, len(x) + new, range(len(x)), stages)
        policy = made.Evicting(reducer.cache, None, alive, len(x))
        close(got.logits[b], oracle.evicting(model, x, range(len(x)), stages, got.tokens[b], policy))


def test_after_a_ragged_prune_in_the_vision_tower(model: Model) -> None:
    first = VTIP("first", 1, 0.3, "bend")
    reducer = replace(first, stages="both", heavy=4, recent=3, prefill="tokens")
    got, pictures = answer(model, reducer, FOUR, NEW), answer(model, first, FOUR, 1)
    assert len({len(v) for v in pictures.trace.kept["vision0"]}) > 1
    assert got.trace.kept["vision0"] == pictures.trace.kept["vision0"]
    assert got.trace.prompt == [[7] * LAYERS] * 4 and got.trace.cache == [[7] * LAYERS] * 4


@pytest.mark.parametrize("budgets", [(6, 5), (0.3, 0.2)])
def test_cache_cuts_every_layers_cache_by_its_own_attention(
    model: Model, inputs: Inputs, budgets: tuple[Any, Any]
) -> None:
    heavy, recent = budgets
    reducer = VTIP("second", heavy=heavy, recent=recent, prefill="cache")
    got, want = answer(model, reducer, inputs, NEW), answer(model, H2O(heavy, recent), inputs, NEW)
    assert torch.equal(got.logits, want.logits)
    lengths = inputs["attention_mask"].sum(1).tolist()
    assert got.trace.prompt == [[n] * LAYERS for n in lengths], "prefill reads all"
    held = [11, 11] if heavy == 6 else [int(n * heavy) + int(n * recent) for n in lengths]
    assert got.trace.cache == [[n] * LAYERS for n in held]


def test_by_default_prefill_is_untouched(model: Model) -> None:
    inputs = batch((5, 5), 1, (2, 2))
    got = answer(model, VTIP("second"), inputs, 1)
    length = inputs["input_ids"].shape[1]
    assert length == 3 + PATCHES + 5 and length % 2 == 0
    assert got.trace.prompt == [[length] * LAYERS] * 2 == got.trace.cache


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heavy": 64, "recent": 64}, "say prefill=cache or prefill=tokens, or give shares"),
        ({"heavy": 0.3, "recent": 0.1}, "say prefill=cache"),
        ({"heavy": 0.5, "recent": 64}, "say prefill=cache"),
        ({"prefill": "tokens"}, "must be ints with prefill=tokens"),
        ({"heavy": 64, "recent": 0.5, "prefill": "tokens"}, "must be ints"),
        ({"heavy": 64, "recent": 0, "prefill": "tokens"}, "recent of at least 1"),
        ({"prefill": "layer0"}, "must be 'full'"),
    ],
)
def test_what_is_not_said_is_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VTIP(**options)
    VTIP(heavy=64, recent=0, prefill="tokens", scope="visual")
    VTIP(heavy=0.7, recent=0.3)
