"""What a probe shows in padded, narrowed, causal prompts with grouped heads, and while decoding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Place, Site, probe

from . import oracle
from .lab import (
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
