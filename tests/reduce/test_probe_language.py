"""What a probe shows in padded, narrowed, causal prompts with grouped heads, and while decoding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Place, Reduction, Site, TokenView, probe

from . import oracle
from .forgetting import AfterPrefill, once, others
from .lab import (
    HEADS,
    KV_HEADS,
    LAYERS,
    PATCHES,
    Inputs,
    Plan,
    answer,
    at,
    batch,
    close,
    draw,
    even,
    look,
    nothing,
    plan,
    probed,
    prompt_of,
    ragged,
)

pytestmark = pytest.mark.usefixtures("no_grad")
Model = LlavaForConditionalGeneration


# ---- the language model --------------------------------------------------------------------------------------
FIRST = {"0": draw(5, PATCHES, 3), "1": draw(9, PATCHES, 4)}
SAME = {"0": draw(6, PATCHES, 3), "1": draw(6, PATCHES, 4)}
PADDED = pytest.mark.parametrize(
    ("inputs", "keeps"), [(batch(), FIRST), (even(), SAME)], ids=["padded", "dense"]
)


def causal(model: Model, inputs: Inputs, b: int, stages: list[oracle.Stage]) -> tuple[list[Tensor], range]:
    """Attention [H, T, T] of each layer, dead keys masked, and where the visual tokens stand."""
    x, visual = prompt_of(model, inputs, b)
    alive, position = oracle.survivors(model, len(x), visual, stages)
    _, attention = oracle.decode(model, x, [oracle.causal(a) for a in alive], position)
    return attention, visual


@pytest.mark.parametrize("layer", range(LAYERS - 1))
@pytest.mark.parametrize("queries", ["last", "text"])
@pytest.mark.parametrize("narrowed", [None, 0, 1, 2])
@PADDED
def test_rows_in_a_causal_batch(
    model: Model,
    inputs: Inputs,
    keeps: dict[str, list[int]],
    layer: int,
    queries: str,
    narrowed: int | None,
) -> None:
    before = [] if narrowed is None else [(at(Place.PROMPT, narrowed), ragged(keeps))]
    view = look(model, inputs, probed(at(Place.PROMPT, 3), layer, queries=queries, values=True), *before)
    length = inputs["attention_mask"].sum(1).tolist()
    for b in range(2):
        keep = range(PATCHES) if narrowed is None else keeps[str(b)]
        stages: list[oracle.Stage] = [] if narrowed is None else [(narrowed, keep, False)]
        attention, visual = causal(model, inputs, b, stages)
        rows = [length[b] - 1] if queries == "last" else list(range(visual.stop, length[b]))
        want = attention[layer][:, rows][:, :, [visual[k] for k in keep]]
        got = view.attention(layer)[b][:, :, view.valid[b]]
        close(got[:, : len(rows)], want)
        assert torch.equal(got[:, len(rows) :], torch.zeros_like(got[:, len(rows) :])), "queries of padding"
        assert view.values[layer].shape[1] == 4


@pytest.mark.parametrize("layer", range(LAYERS - 1))
@pytest.mark.parametrize("narrowed", [None, 1])
@PADDED
def test_sums_and_rollout_in_a_causal_batch(
    model: Model,
    inputs: Inputs,
    keeps: dict[str, list[int]],
    layer: int,
    narrowed: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probe, "BLOCK", 7)
    before = [] if narrowed is None else [(at(Place.PROMPT, narrowed), ragged(keeps))]
    site = probed(Site(Place.PROMPT, 3, scope="all"), layer, queries=None)
    view = look(model, inputs, site, *before)
    received = view.received(layer)
    keys = view.records[layer].key.shape[2]
    row = torch.rand(2, keys, generator=torch.Generator().manual_seed(0))
    pushed = view.push(layer, row)
    for b in range(2):
        keep = range(PATCHES) if narrowed is None else keeps[str(b)]
        attention, visual = causal(model, inputs, b, [] if narrowed is None else [(narrowed, keep, False)])
        weights = attention[layer]
        total = weights.shape[-1]
        alive = [t for t in range(total) if t not in visual or t - visual.start in keep]
        there = alive if narrowed is not None and layer >= narrowed else list(range(total))
        matrix = weights[:, there][:, :, there]
        sums = weights[:, there].sum(1)[:, alive]
        close(received[b][:, view.valid[b]], sums)
        close(pushed[b, -len(there) :], row[b, -len(there) :] @ matrix.mean(0))
        close(
            view.select(layer, pushed)[b][view.valid[b]],
            pushed[b, -len(there) :][[there.index(t) for t in alive]],
        )


@pytest.mark.parametrize("queries", ["last", "text"])
def test_the_cache_shows_the_newest_rows_at_every_step(model: Model, inputs: Inputs, queries: str) -> None:
    reducer: Plan = plan((probed(at(Place.CACHE, 2, scope="all"), 2, queries=queries), nothing))
    got = answer(model, reducer, inputs, new=4)
    assert [view.step for view in reducer.seen] == [0, 1, 2, 3]
    for b in range(2):
        x, visual = prompt_of(model, inputs, b)
        full = torch.cat([x, oracle.words(model, got.tokens[b, :-1])])
        alive, order = oracle.survivors(model, len(full), (), ())
        attention = oracle.decode(model, full, [oracle.causal(a) for a in alive], order)[1][2]
        for view in reducer.seen:
            n = len(x) + view.step
            rows = list(range(visual.stop, n)) if queries == "text" and view.step == 0 else [n - 1]
            seen = view.attention(2)[b][:, : len(rows), view.valid[b]]
            close(seen, attention[:, rows, :n])
            asked = attention[:, :n, :n].sum(1) if view.step == 0 else attention[:, n - 1, :n]
            close(view.received(2)[b][:, view.valid[b]], asked)


def test_rows_that_a_sample_does_not_have_are_zero(model: Model) -> None:
    """Sample 0 has less text, and more visual tokens than the other: its rows are filled up with some of those."""
    inputs, seen = batch((1, 9), 3, (1, 1)), {"0": range(PATCHES), "1": [0, 5]}
    view = look(
        model, inputs, probed(at(Place.PROMPT, 2), 1, queries="text"), (at(Place.FEATURES), ragged(seen))
    )
    rows = view.attention(1)[0]
    assert rows.shape[1] == 9 and view.attended[1].real[0].tolist() == [True] + [False] * 8
    assert bool((rows[:, 0] > 0).any()) and not rows[:, 1:].any()


def test_rows_of_heads_that_hold_different_tokens(model: Model, inputs: Inputs) -> None:
    mine = [[2, 7, 11], [4]]

    def act(view: TokenView) -> Reduction:
        keep, valid = torch.tensor([[2, 7, 11], [4, 0, 0]]), torch.tensor([[True] * 3, [True, False, False]])
        return Reduction(keep.expand(2, -1, -1), valid=valid.expand(2, -1, -1))

    reducer: Plan = plan((probed(at(Place.CACHE, 1), 1, queries="last"), once(act)))
    got = answer(model, reducer, inputs, new=4)
    for b in range(2):
        x, visual = prompt_of(model, inputs, b)
        forgot, asked = AfterPrefill({1: [others(visual, keep) for keep in mine]}), {}

        def policy(
            layer: int,
            step: int,
            attention: Tensor,
            asked: dict[tuple[int, int], Tensor] = asked,
            forgot: AfterPrefill = forgot,
        ) -> Tensor:
            asked[layer, step] = attention[:, -1]
            return forgot(layer, step, attention)

        oracle.evicting(model, x, (), (), got.tokens[b], policy)
        for view in reducer.seen[1:]:
            for head in range(HEADS):
                group = head * KV_HEADS // HEADS
                live = view.valid[b, group]
                want = asked[1, view.step][head, [visual[k] for k in mine[group]]]
                close(view.attention(1)[b, head, 0][live], want)
                close(view.received(1)[b, head][live], want)
