"""FastV against the slow reference: made-up prompts at several shapes, and the tiny LLaVA end to end."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Place, ReducedVLM
from prunegrid.reduce.methods.fastv import FastV
from prunegrid.shape import llava15_7b
from reduce import made, oracle
from reduce.lab import LAYERS, PATCHES, Inputs, answer, at, batch, close, one, plan, prompt_of, ragged
from reference import fastv as reference

pytestmark = pytest.mark.usefixtures("no_grad")
Model = LlavaForConditionalGeneration
SOURCE: dict[str, Any] = {"released": "last", "paper": "received"}
NEW = 4
FOUR = batch((3, 7, 5, 1), 3, (2, 1, 4, 3))


def reduce(reducer: FastV, samples: list[made.Prompt]) -> list[list[int]]:
    view = made.prompt_view(samples, reducer.layer - 1, "last" if reducer.variant == "released" else None)
    return made.kept(reducer.reduce(reducer.sites(llava15_7b())[0], view, None))


@pytest.mark.parametrize("variant", ["released", "paper"])
@pytest.mark.parametrize(
    "shapes",
    [
        [(3, 16, 5)],
        [(2, 16, 3), (5, 9, 4), (1, 25, 8), (4, 16, 1)],
        [(6, 144, 20), (3, 100, 40)],
        [(35, 576, 9)],
    ],
    ids=["1x16", "4x ragged", "2x ragged", "1x576"],
)
def test_the_selection_equals_the_loop(variant: str, shapes: list[tuple[int, int, int]]) -> None:
    heads = 2 if len(shapes) == 1 else 4
    samples = [made.prompt(*s, heads=heads, seed=n) for n, s in enumerate(shapes)]
    for keep, rounding, name in (
        (0.5, "nearest", "round"),
        (0.28, "nearest", "round"),
        (0.28, "down", "int"),
    ):
        got = reduce(FastV(keep, 2, variant, rounding), samples)  # type: ignore[arg-type]
        for s, mine in zip(samples, got, strict=True):
            visual, attention = list(s.visual), reference.causal_attention(s.q, s.k)
            n = reference.count(len(visual), keep, name)  # type: ignore[arg-type]
            columns = reference.fastv(attention, visual, n, SOURCE[variant])
            assert [visual[j] for j in mine] == [c for c in columns if c in s.visual]


def test_one_row_is_the_row_of_the_whole_matrix() -> None:
    s = made.prompt(3, 40, 6)
    view = made.prompt_view([s], 1, "last")
    want = reference.causal_attention(s.q, s.k)[:, -1, 3:43].mean(0)
    torch.testing.assert_close(FastV().score(view)[0].double(), want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("variant", ["released", "paper"])
@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("inputs", [batch(), one(batch(), 0), FOUR], ids=["2", "1", "4"])
def test_the_model_answers_as_if_the_others_were_masked(
    model: Model, variant: str, layer: int, inputs: Inputs
) -> None:
    got = answer(model, FastV(5, layer, variant), inputs, NEW)  # type: ignore[arg-type]
    for b in range(len(inputs["input_ids"])):
        x, visual = prompt_of(model, inputs, b)
        everyone = oracle.causal(torch.ones(len(x), dtype=torch.bool))
        _, attention = oracle.decode(model, x, [everyone] * LAYERS, [torch.arange(len(x))] * LAYERS)
        kept = reference.best(reference.scores(attention[layer - 1], list(visual), SOURCE[variant]), 5)
        assert got.trace.kept[f"prompt{layer}"][b] == kept
        close(got.logits[b], oracle.masked(model, x, visual, [(layer, kept, False)], got.tokens[b]))
        held = reference.cache_lengths(LAYERS, layer, len(x), len(x) - PATCHES + 5)
        assert got.trace.cache[b] == [n + NEW - 1 for n in held]


def test_a_share_of_ragged_counts(model: Model, inputs: Inputs) -> None:
    """Of 12 and 7 visual tokens a share of 0.5 leaves 6 and 4 (halves to even)."""
    some = {"0": list(range(12)), "1": [0, 3, 4, 5, 9, 12, 15]}
    first = plan((at(Place.FEATURES), ragged(some)))
    got = answer(model, made.Chain(first, FastV(0.5, 2)), inputs, NEW)
    assert [row[2] for row in got.trace.visual] == [6, 4]
    for b in range(2):
        alone = answer(model, made.Chain(first, FastV(0.5, 2)), one(inputs, b), NEW, ids=[str(b)])
        close(got.logits[b], alone.logits[0])
        assert got.trace.kept["prompt2"][b] == alone.trace.kept["prompt2"][0]


def test_the_cache_really_is_shorter(model: Model, inputs: Inputs) -> None:
    """Bytes, not bookkeeping: the tensors of the layers behind are smaller."""
    seen: list[list[int]] = []

    def look(_module: Any, _args: Any, kwargs: dict, _out: Any) -> None:
        cache = kwargs["past_key_values"]
        seen.append([x.keys.shape[2] for x in cache.layers])

    hook = model.model.language_model.layers[-1].self_attn.register_forward_hook(look, with_kwargs=True)
    try:
        answer(model, FastV(4, 2), inputs, NEW)
    finally:
        hook.remove()
    longest = inputs["input_ids"].shape[1]
    full, short = longest, longest - PATCHES + 4
    assert seen == [[full + n, full + n, short + n, short + n] for n in range(NEW)]


def test_nothing_stays_behind(model: Model, inputs: Inputs) -> None:
    before = ReducedVLM(model, FastV(1.0)).generate(inputs, max_new_tokens=NEW, do_sample=False)[0]
    plain = model.generate(**inputs, max_new_tokens=NEW, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    assert torch.equal(before, plain)
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    answer(model, FastV(3, 1, "paper"), inputs, NEW)
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0}, "at least 1 token"),
        ({"keep": 1.5}, r"must lie in \(0, 1\]"),
        ({"layer": 0}, r"must lie in 1\.\.3"),
        ({"layer": 4}, r"must lie in 1\.\.3"),
        ({"variant": "other"}, "must be 'released' or 'paper'"),
        ({"keep": 17}, "more than the 16 tokens"),
    ],
)
def test_impossible_settings_name_the_range(model: Model, inputs: Inputs, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        answer(model, FastV(**options), inputs, 1)


def test_paper_scale_counts() -> None:
    """R = 50 % at K = 2 keeps 288 of 576; the SparseVLM tables call that 306 tokens."""
    view = made.prompt_view([made.prompt(35, 576, 9, heads=2, groups=2)], 1, "last")
    assert len(made.kept(FastV().reduce(FastV().sites(llava15_7b())[0], view, None))[0]) == 288
    assert reference.average_tokens(32, 2, 576, 288) == 306
