"""CACHE: policies that remember over all steps, and every place at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Host, Place, Probe, Reducer, Reduction, Site, TokenView
from prunegrid.shape import ModelShape

from . import oracle
from .forgetting import AfterPrefill, Forget, once, others
from .lab import (
    HEADS,
    KV_HEADS,
    PATCHES,
    Inputs,
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

pytestmark = pytest.mark.usefixtures("no_grad")
Model = LlavaForConditionalGeneration
NEW = 6


# ---- a policy with memory: heavy hitters and recent tokens, per KV head (H2O) ----------------------------------
@dataclass(frozen=True)
class Heavy(Reducer):
    """Of all tokens keep the `recent` latest and the `heavy` that were attended to most, over all steps so far."""

    heavy: int = 5
    recent: int = 3
    first: tuple[int, ...] = ()  # visual tokens kept before layer 1

    def sites(self, shape: ModelShape) -> list[Site]:
        sites = [
            Site(Place.CACHE, i, Probe((i,), queries=None), scope="all") for i in range(shape.llm.layers)
        ]
        return [*([at(Place.PROMPT, 1)] if self.first else []), *sites]

    def start(self, host: Host) -> dict[int, Tensor]:
        return {}

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction | None:
        if site.place == Place.PROMPT:
            return fixed(*self.first)(view)
        assert site.layer is not None
        position, valid = (
            x if x.dim() == 3 else x[:, None].expand(-1, KV_HEADS, -1) for x in (view.position, view.valid)
        )
        received = view.received(site.layer).unflatten(1, (KV_HEADS, -1)).sum(2)
        total = state.setdefault(site.layer, torch.zeros(len(received), KV_HEADS, 64))
        total.scatter_add_(2, position, received * valid)
        latest = torch.where(valid, position, -1).topk(self.recent, 2).indices
        score = total.gather(2, position).scatter(2, latest, torch.inf).masked_fill(~valid, -torch.inf)
        keep = score.topk(min(self.heavy + self.recent, score.shape[2]), 2).indices
        return Reduction(keep, valid=valid.gather(2, keep))


class HeavyOracle(Forget):
    """The same in plain loops over the attention of full runs."""

    def __init__(self, heavy: int, recent: int, alive: list[Tensor]) -> None:
        super().__init__()
        self.heavy, self.recent, self.alive = heavy, recent, alive
        self.total: dict[tuple[int, int], dict[int, float]] = {}

    def __call__(self, layer: int, step: int, attention: Tensor) -> Tensor:
        length = attention.shape[-1]
        alive = [t for t in range(length) if bool(self.alive[layer][t])]
        queries = alive if step == 0 else [length - 1]
        for head in range(KV_HEADS):
            group = range(head * HEADS // KV_HEADS, (head + 1) * HEADS // KV_HEADS)
            total = self.total.setdefault((layer, head), {})
            gone = self.gone.get(layer, [set()] * KV_HEADS)[head]
            held = [t for t in alive if t not in gone]
            for t in held:
                total[t] = total.get(t, 0.0) + float(attention[group][:, queries, t].sum())
            latest = held[-self.recent :]
            ranked = sorted(set(held) - set(latest), key=total.__getitem__, reverse=True)
            dead = set(ranked[self.heavy :])
            self.drop(layer, [dead if h == head else set() for h in range(KV_HEADS)])
        return self.mask(layer, length)


@pytest.mark.parametrize(("heavy", "recent"), [(5, 3), (1, 1), (20, 4)])
@pytest.mark.parametrize("first", [(), (0, 3, 7, 8, 15)])
def test_heavy_hitters_are_followed_over_all_steps_and_heads(
    model: Model, inputs: Inputs, heavy: int, recent: int, first: tuple[int, ...]
) -> None:
    got = answer(model, Heavy(heavy, recent, first), inputs, NEW)
    stages: list[oracle.Stage] = [(1, first, False)] if first else []
    for b in range(2):
        x, visual = prompt_of(model, inputs, b)
        alive, _ = oracle.survivors(model, len(x) + NEW, visual, stages)
        policy = HeavyOracle(heavy, recent, alive)
        close(got.logits[b], oracle.evicting(model, x, visual, stages, got.tokens[b], policy))
        held = [int(a.sum()) - 1 for a in alive]
        assert got.trace.cache[b] == [min(n, heavy + recent) for n in held]


# ---- everything at once ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("renumber", [False, True])
def test_vision_then_prompt_then_prompt_then_cache(model: Model, inputs: Inputs, renumber: bool) -> None:
    vision = {"0": draw(12, PATCHES, 1), "1": draw(9, PATCHES, 2)}
    first = {"0": [0, 2, 3, 7, 11], "1": [1, 2, 4, 5, 6, 7, 8]}
    second = {"0": [4, 2, 1], "1": [0, 3, 5, 6]}
    last = {"0": [1], "1": [0, 2, 3]}
    positions = "renumber" if renumber else "keep"
    reducer = plan(
        (at(Place.VISION, 0), ragged(vision)),
        (at(Place.PROMPT, 1, positions=positions), ragged(first)),
        (at(Place.PROMPT, 2), ragged(second)),
        (at(Place.CACHE, 0), once(ragged(last))),
        (at(Place.CACHE, 3), once(ragged(last))),
    )
    got = answer(model, reducer, inputs, NEW)
    for b, i in enumerate(("0", "1")):
        gone = {0: set(range(PATCHES)) - set(vision[i])}
        visual = oracle.features(model, one(inputs, b)["pixel_values"], vision[i], gone=gone)
        x, where = prompt_of(model, inputs, b, visual)
        stages: list[oracle.Stage] = [(1, first[i], renumber), (2, second[i], False)]
        left = [list(where)[first[i][k]] for k in sorted(second[i])]
        dead = {0: others(where, last[i]), 3: set(left) - {left[k] for k in last[i]}}
        policy = AfterPrefill({layer: [tokens] for layer, tokens in dead.items()})
        close(got.logits[b], oracle.evicting(model, x, where, stages, got.tokens[b], policy))
        n, v = len(x), len(vision[i])
        assert got.trace.vision[b] == [17, v + 1, v + 1, v + 1]
        assert got.trace.visual[b] == [v, len(first[i]), len(second[i]), len(second[i])]
        assert got.trace.prompt[b] == [n, n - v + len(first[i]), *[n - v + len(second[i])] * 2]
        answer_length = NEW - 1
        assert got.trace.cache[b] == [
            n - len(dead[0]) + answer_length,
            n - v + len(first[i]) + answer_length,
            n - v + len(second[i]) + answer_length,
            n - v + len(second[i]) - len(dead[3]) + answer_length,
        ]
