"""CACHE: a run that forgets keys = a run that caches nothing and masks what was forgotten, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Host, Place, Probe, Reducer, Reduction, Site, TokenView
from prunegrid.shape import ModelShape

from . import oracle
from .lab import (
    HEADS,
    KV_HEADS,
    LAYERS,
    PATCHES,
    Act,
    Inputs,
    answer,
    at,
    batch,
    close,
    draw,
    even,
    fixed,
    one,
    plan,
    prompt_of,
    ragged,
)

pytestmark = pytest.mark.usefixtures("no_grad")
Model = LlavaForConditionalGeneration
NEW = 6


class Forget:
    """An oracle policy: gone[layer][head] grows by what `choose` names, in prompt-and-answer columns."""

    def __init__(self) -> None:
        self.gone: dict[int, list[set[int]]] = {}

    def drop(self, layer: int, tokens: Sequence[set[int]]) -> None:
        known = self.gone.setdefault(layer, [set() for _ in range(KV_HEADS)])
        for head in range(KV_HEADS):
            known[head] |= tokens[head % len(tokens)]

    def mask(self, layer: int, length: int) -> Tensor:
        known = self.gone.get(layer, [set()])
        return torch.tensor([[t in head for t in range(length)] for head in known])


class AfterPrefill(Forget):
    """Visual tokens that are forgotten once, after the prompt; one set per head or one for all."""

    def __init__(self, plan: dict[int, list[set[int]]]) -> None:
        super().__init__()
        for layer, tokens in plan.items():
            self.drop(layer, tokens)

    def __call__(self, layer: int, step: int, attention: Tensor) -> Tensor:
        return self.mask(layer, attention.shape[-1])


def once(act: Act) -> Act:
    """Only after the prompt."""
    return lambda view: act(view) if view.step == 0 else None


def per_head(*keeps: Sequence[int]) -> Act:
    return lambda view: Reduction(torch.tensor(keeps).expand(len(view.tokens), -1, -1))


def others(visual: range, keep: Sequence[int]) -> set[int]:
    return {t for j, t in enumerate(visual) if j not in keep}


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
