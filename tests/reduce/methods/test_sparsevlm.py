"""SparseVLM against the slow reference: clusters, whole stages, and the tiny LLaVA whose sequence really shrinks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Place
from prunegrid.reduce.methods.dpc import dpc_knn
from prunegrid.reduce.methods.sparsevlm import SparseVLM
from prunegrid.reduce.ops import apply
from prunegrid.shape import llava15_7b
from reduce import made, oracle
from reduce.lab import PATCHES, Inputs, answer, at, batch, close, one, plan, prompt_of, ragged
from reference import sparsevlm as reference

pytestmark = pytest.mark.usefixtures("no_grad")
Model = LlavaForConditionalGeneration
NEW = 3
TWO = batch((5, 7), 4)  # raters far from the mean: with saturated softmax rows a tie is easily met
FOUR = batch((3, 7, 5, 1), 3, (2, 1, 4, 3))


@pytest.mark.parametrize("sizes", [[(5, 1)], [(40, 5), (17, 2), (60, 7), (1, 1)], [(150, 16)]], ids=str)
def test_clusters_equal_the_loop(sizes: list[tuple[int, int]]) -> None:
    g = torch.Generator().manual_seed(0)
    longest, most = max(t for t, _ in sizes), max(c for _, c in sizes)
    x = torch.randn(len(sizes), longest, 24, generator=g)
    live = torch.arange(longest) < torch.tensor([t for t, _ in sizes])[:, None]
    x[~live] = 1000.0
    got = dpc_knn(x, live, torch.tensor([c for _, c in sizes]), most)
    for b, (t, c) in enumerate(sizes):
        _, want = reference.cluster(x[b, :t])
        assert len(want) == c
        assert [[i for i in range(t) if got[b, i] == k] for k in range(c)] == want


@pytest.mark.parametrize("recycle", [0.3, 0.0])
@pytest.mark.parametrize("sizes", [[40], [144, 100, 60, 37], [30, 7], [300]], ids=str)
def test_a_stage_equals_the_loop(sizes: list[int], recycle: float) -> None:
    """Kept rows and means of clusters, ragged counts included; of 30 and 7 tokens the second keeps all."""
    g = torch.Generator().manual_seed(1)
    view = made.prompt_view([made.prompt(2, n, 4) for n in sizes], 2, "text")
    view = replace(view, tokens=torch.randn(*view.valid.shape, 12, generator=g))
    score = torch.rand(view.valid.shape, generator=g) ** 4
    r = SparseVLM(recycle=recycle).select(view, score, 20)
    tokens = apply(r, view.tokens, view.tokens[:, :0])
    assert r.valid is not None
    for b, n in enumerate(sizes):
        want, kept, merged = reference.stage(view.tokens[b, :n], score[b, :n].tolist(), 20, recycle > 0)
        torch.testing.assert_close(tokens[b][r.valid[b]], want, rtol=1e-5, atol=1e-6)
        assert r.keep[b][r.valid[b]].tolist() == kept + [-1] * len(merged)
        if r.group is None:
            continue
        slots = r.valid[b].nonzero().squeeze(1).tolist()
        homes = [[j for j in range(n) if r.group[b, j] == slot] for slot in slots]
        assert homes == [*([j] for j in kept), *map(sorted, merged)]


def test_paper_scale_counts() -> None:
    """576 -> 66 + 16, -> 30 + 2, -> 17 + 1: an average of 64 over 32 layers it is called."""
    reducer = SparseVLM()
    assert [s.layer for s in reducer.sites(llava15_7b())] == [0, 3, 7, 16]
    n = 576
    for count, new in ((66, 16), (30, 2), (17, 1)):
        view = made.prompt_view([made.prompt(35, n, 9, heads=2)], 2, "text")
        r = reducer.select(view, torch.rand(1, n), count)
        assert r.keep.shape[1] == count + new and (r.keep == -1).sum() == new
        assert r.weights is not None
        torch.testing.assert_close(r.weights.sum(2), torch.ones(1, count + new))
        n = count + new


def run(model: Model, x: Tensor, visual: range, reducer: SparseVLM, new: Tensor) -> tuple[list[int], Tensor]:
    """One sample whose sequence really shrinks -> tokens per layer, and the logits of each step."""
    behind = list(range(visual.stop, len(x)))
    rate = reference.raters(x[visual.start : visual.stop], x[behind]) if behind else []
    h = torch.cat([x, oracle.words(model, new[:-1])])
    n, lengths, weights = len(visual), [], x
    for i in range(len(model.model.language_model.layers)):
        if i in reducer.stages and n > reducer.stages[i]:
            text = range(visual.start + n, len(h) - len(new) + 1)
            rows = [text[j] for j in rate] or list(text)
            there = list(range(visual.start, visual.start + n))
            score = reference.scores(weights, rows, there)
            block, _, _ = reference.stage(h[there], score, reducer.stages[i], reducer.recycle > 0)
            h = torch.cat([h[: visual.start], block, h[visual.start + n :]])
            n = len(block)
        lengths.append(n)
        everyone = oracle.causal(torch.ones(len(h), dtype=torch.bool))
        h, weights = oracle.llm_layer(model, i, h, everyone, torch.arange(len(h)))
    return lengths, oracle.head(model, h)[-len(new) :]


@pytest.mark.parametrize(
    ("keep", "layers", "recycle"),
    [((7, 4, 2), (1, 2, 3), 0.3), ((1,), (2,), 0.3), ((5, 3), (1, 3), 0.0), ((20, 3), (1, 2), 0.3)],
)
@pytest.mark.parametrize("inputs", [TWO, one(TWO, 1), FOUR], ids=["2", "1", "4"])
def test_the_model_end_to_end(model: Model, keep: Any, layers: Any, recycle: float, inputs: Inputs) -> None:
    reducer = SparseVLM(keep, layers, recycle)
    got = answer(model, reducer, inputs, NEW)
    for b in range(len(inputs["input_ids"])):
        x, visual = prompt_of(model, inputs, b)
        lengths, want = run(model, x, visual, reducer, got.tokens[b])
        assert got.trace.visual[b] == lengths
        close(got.logits[b], want)
        assert got.trace.cache[b] == [len(x) - PATCHES + n + NEW - 1 for n in lengths]


def test_after_a_ragged_prune_in_the_vision_tower(model: Model) -> None:
    inputs = TWO
    some = {"0": list(range(14)), "1": [0, 3, 4, 5, 9, 12]}
    reducer = SparseVLM((5, 3), (1, 2))
    got = answer(model, made.Chain(plan((at(Place.FEATURES), ragged(some))), reducer), inputs, NEW)
    for b in range(2):
        features = oracle.features(model, one(inputs, b)["pixel_values"], some[str(b)])
        x, visual = prompt_of(model, inputs, b, features)
        lengths, want = run(model, x, visual, reducer, got.tokens[b])
        assert got.trace.visual[b] == lengths
        close(got.logits[b], want)


def test_it_answers_the_same_twice_and_leaves_nothing(model: Model, inputs: Inputs) -> None:
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    reducer = SparseVLM((7, 4, 2), (1, 2, 3))
    assert torch.equal(answer(model, reducer, inputs, NEW).logits, answer(model, reducer, inputs, NEW).logits)
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": (1, 2)}, "2 layers, but 3 numbers"),
        ({"layers": (2, 1, 3)}, "must rise"),
        ({}, r"must lie in 1\.\.3"),
        ({"keep": (66, 30, 0)}, "at least 1 token"),
        ({"layers": (1, 2, 3), "recycle": 1.0}, r"must lie in \[0, 1\)"),
    ],
)
def test_impossible_settings_name_the_range(model: Model, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        answer(model, SparseVLM(**options), batch(), 1)
