"""A token beside the prompt: it passes each layer as one more row of a whole run does, and the prompt never knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Place, Probe, ReducedVLM, Reduction, Site, TokenView
from prunegrid.reduce.picture import Picture

from . import oracle
from .lab import EVERYWHERE, LAYERS, PATCHES, Inputs, Plan, answer, batch, close, even, one, plan, prompt_of

pytestmark = pytest.mark.usefixtures("no_grad")
Model = LlavaForConditionalGeneration
KEEP = (0, 2, 3, 7, 8, 11, 13)


@dataclass(frozen=True)
class Haunted(Plan):
    """Narrows at layer 1, then sends a ghost through layers 0 to 2; `passed`: (x, row) behind each."""

    passed: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction | None:
        self.seen.append(view)
        if site.layer == 1:
            return Reduction(torch.tensor(KEEP).expand(len(view.tokens), -1))
        x = start(len(view.tokens))
        for layer in range(3):
            x, row = view.advance(layer, x)
            self.passed.append((x, row))
        return None


def start(batch: int) -> Tensor:
    return torch.randn(batch, 64, generator=torch.Generator().manual_seed(4)) * 3


def haunted(positions: Any) -> Haunted:
    sites = (
        Site(Place.PROMPT, 1, positions=positions),
        Site(Place.PROMPT, 3, Probe((0, 1, 2), queries=None)),
    )
    return Haunted(tuple((site, lambda view: None) for site in sites))


def beside(
    model: Model, x: Tensor, visual: range, ghost: Tensor, renumber: bool
) -> list[tuple[Tensor, Tensor]]:
    """The same in whole runs over the living tokens: hidden state and attention [H, T + 1] behind layers 0 to 2."""
    h, position, end, passed = x, torch.arange(len(x)), visual.stop, []
    for i in range(3):
        if i == 1:
            stay = [t for t in range(len(x)) if t not in visual or t - visual.start in KEEP]
            h, end = h[stay], visual.start + len(KEEP)
            position = torch.arange(len(h)) if renumber else position[stay]
        length = len(h)
        sees = torch.ones(length + 1, length + 1, dtype=torch.bool).tril()
        sees[length, end:length] = False
        order = torch.cat([position, position[end : end + 1]])
        out, weights = oracle.llm_layer(model, i, torch.cat([h, ghost[None]]), sees, order)
        h, ghost = out[:length], out[length]
        passed.append((ghost, weights[:, length]))
    return passed


@pytest.mark.parametrize("positions", ["keep", "renumber"])
@pytest.mark.parametrize(
    "inputs", [batch(), even(), batch((1, 9, 4, 2), 2, (5, 1, 2, 3))], ids=["2", "even", "4"]
)
def test_it_passes_layers_as_a_last_row_that_nobody_sees(
    model: Model, inputs: Inputs, positions: str
) -> None:
    reducer = haunted(positions)
    answer(model, reducer, inputs, 1)
    length = inputs["attention_mask"].sum(1).tolist()
    for b in range(len(length)):
        x, visual = prompt_of(model, inputs, b)
        wanted = beside(model, x, visual, start(len(length))[b], positions == "renumber")
        for (got, row), (want, weights) in zip(reducer.passed, wanted, strict=True):
            close(got[b], want)
            there = weights.shape[1] - 1
            close(row[b][:, -1 - there :], weights)
            assert row[b][:, : -1 - there].abs().sum() == 0, "padding is not seen"


@pytest.mark.parametrize("new", [1, 4])
def test_the_prompt_never_knows(model: Model, inputs: Inputs, new: int) -> None:
    """Not its logits, not the records of a later probe, not what the cache holds."""
    keep = Haunted(haunted("keep").steps)
    with_ghost = answer(model, keep, inputs, new)
    act = {1: lambda view: Reduction(torch.tensor(KEEP).expand(len(view.tokens), -1)), 3: lambda view: None}
    without = answer(model, plan(*((site, act[site.layer or 0]) for site, _ in keep.steps)), inputs, new)
    assert torch.equal(with_ghost.logits, without.logits)
    assert with_ghost.trace.cache == without.trace.cache


def test_evicting_caches_beside_it_stay_as_they_were(model: Model, inputs: Inputs) -> None:
    """A CACHE site acts once per layer and step, however often a ghost passes its layer."""
    cache = Site(Place.CACHE, 1, Probe((1,), queries=None))
    calls: dict[int, int] = {}

    def evict(view: TokenView) -> Reduction | None:
        calls[view.step] = calls.get(view.step, 0) + 1
        return Reduction(torch.arange(3).expand(len(view.tokens), -1)) if view.step == 0 else None

    def walk(view: TokenView) -> None:
        view.advance(1, start(len(view.tokens)))

    walker = Site(Place.PROMPT, 3, Probe((1,), queries=None))
    both = answer(model, plan((cache, evict), (walker, walk)), inputs)
    assert calls == dict.fromkeys(range(4), 1)
    alone = answer(model, plan((cache, evict)), inputs)
    assert torch.equal(both.logits, alone.logits)


def test_it_leaves_no_gradient_and_works_in_training(model: Model, inputs: Inputs) -> None:
    reducer = haunted("keep")
    with torch.enable_grad():
        out, _ = ReducedVLM(model, reducer).forward(inputs, labels=inputs["input_ids"].clamp_max(100))
        assert out.loss is not None and out.loss.requires_grad
    assert not any(x.requires_grad or row.requires_grad for x, row in reducer.passed)


# ---- the picture as a whole --------------------------------------------------------------------------------------
def pictured(model: Model, inputs: Inputs, *before: Any) -> Picture | None:
    reducer = plan(*before, (Site(Place.PROMPT, 0, picture=True), lambda view: None))
    answer(model, reducer, inputs, 1)
    return reducer.seen[-1].picture


def test_the_class_token_is_that_of_the_run(model: Model, inputs: Inputs) -> None:
    got = pictured(model, inputs)
    assert got is not None
    for b in range(2):
        x = oracle.patches(model, one(inputs, b)["pixel_values"])
        read = oracle.vit(model, x, 0, LAYERS - 1)
        close(got.read[b], read[0])
        close(got.last[b], oracle.vit(model, read, LAYERS - 1, LAYERS)[0])
        close(got.projected[b], oracle.project(model, read[:1])[0])


def test_the_class_token_sees_what_is_left_and_the_projector_counts_patches_alone(
    model: Model, inputs: Inputs
) -> None:
    alive = list(range(0, PATCHES, 3))
    site = Site(Place.VISION, 0)
    got = pictured(model, inputs, (site, lambda view: Reduction(torch.tensor(alive).expand(2, -1))))
    assert got is not None
    x = oracle.patches(model, one(inputs, 0)["pixel_values"])
    gone = {0: [p for p in range(PATCHES) if p not in alive]}
    close(got.last[0], oracle.vit(model, x, 0, LAYERS, gone)[0])
    seen: list[int] = []
    features = Site(Place.FEATURES)
    assert pictured(model, inputs, (features, lambda view: seen.append(view.tokens.shape[1]))) is not None
    assert seen == [PATCHES], "the class token passes the projector without its hooks"


def test_there_is_none_unless_somebody_asks(model: Model, inputs: Inputs) -> None:
    reducer = plan(*EVERYWHERE)
    answer(model, reducer, inputs, 1)
    assert all(view.picture is None for view in reducer.seen)
    with pytest.raises(ValueError, match="picture means nothing at features"):
        Site(Place.FEATURES, picture=True)
