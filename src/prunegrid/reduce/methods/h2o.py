"""H2O: heavy hitters and recent tokens stay in the KV cache, all others go.

arXiv:2306.14048; official code FMInference/H2O at ac75c2a.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from prunegrid.reduce.flops import Flops, Seen, llm_rows
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.reducer import Host, Reducer
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass
class Hitters:
    """One layer's memory. scores [B, Hkv, n]: attention that each held token has received so far, in the order
    of the cache, 0 behind a sample's last; heavy, recent [B]; most: of heavy + recent over the batch."""

    scores: Tensor
    heavy: Tensor
    recent: Tensor
    most: int


@dataclass
class Memory:
    """Per layer."""

    layers: dict[int, Hitters] = field(default_factory=dict)


@dataclass(frozen=True)
class H2O(Reducer):
    """After prefill and after every step, in every LLM layer, keep the last `recent` tokens of the cache and, of
    the rest, the `heavy` that have received most attention: summed over the queries of the prompt, then one row
    per step. A float is a share of the prompt (rounded down, fixed at prefill), an int a number of tokens.

    [B, Hkv, N] scores -> keep [B, Hkv, n] (`heads: each`) or [B, n] (`shared`, by the sum over heads). `scope`:
    all tokens, or the visual ones alone (then the prompt is its visual tokens, and no text ever leaves).

    Differs from the official code: that one masks instead of evicting (or evicts with absolute sizes), asserts
    batch 1 or sums scores over the batch, and has no grouped heads; here memory is freed, samples are apart, and
    the query heads of a group add up. Kept keys keep their rotation. Nothing is dropped before the prompt has
    been read: prefill costs as much as without.
    Cost: per layer the prompt's attention once more, block by block (2 T^2 D), then a row of L cached tokens per step
    (2 L D). One sync per layer and step where something goes: heads and samples may hold different numbers.
    """

    heavy: int | float = 0.1
    recent: int | float = 0.1
    heads: Literal["each", "shared"] = "each"
    scope: Literal["all", "visual"] = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("heavy", self.heavy), ("recent", self.recent)):
            if value < 0 or (isinstance(value, float) and value > 1):
                raise ValueError(
                    f"H2O: {name}={value} must lie in [0, 1] as a share, or be an int of at least 0"
                )
        if self.heavy + self.recent <= 0:
            raise ValueError(
                f"H2O: heavy={self.heavy} + recent={self.recent} must be positive: an empty cache cannot answer"
            )

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        return tuple(
            Site(Place.CACHE, i, Probe((i,), queries=None), scope=self.scope) for i in range(shape.llm.layers)
        )

    def start(self, host: Host) -> Memory:
        return Memory()

    def reduce(self, site: Site, view: TokenView, state: Memory) -> Reduction | None:
        assert site.layer is not None
        groups = view.keys[site.layer].shape[1]
        received = view.received(site.layer).unflatten(1, (groups, -1)).sum(2)
        valid = (view.valid if view.valid.dim() == 3 else view.valid[:, None]).expand_as(received)
        received = received * valid
        if view.step == 0:
            memory = state.layers[site.layer] = self._begin(received, valid)
        else:
            memory = state.layers[site.layer]
            # In scope, the cache holds what was kept, in order, then this step's token.
            memory.scores = F.pad(memory.scores, (0, received.shape[2] - memory.scores.shape[2])) + received
        # Where no one exceeds its budget, as far as that is known without asking the device: shares of two prompts, each
        # rounded down, may leave the shorter one over its own.
        numbers = isinstance(self.heavy, int) and isinstance(self.recent, int)
        if (numbers and received.shape[2] <= memory.most) or (view.step > 0 and self.scope == "visual"):
            return None
        return self._evict(memory, valid)

    def flops(self, host: Host, seen: Seen) -> Flops:
        llm, made = host.shape.llm, Flops()
        for i, tokens in enumerate(seen.prompt):
            asked = sum(seen.keys(i, step) for step in range(1, seen.new))
            made += llm_rows(llm, tokens, tokens) + llm_rows(llm, 1, asked)
        return made

    def _begin(self, received: Tensor, valid: Tensor) -> Hitters:
        """Budgets follow from the prompt's length; the longest one, which fills the view, has the greatest."""
        heavy, recent = (_tokens(x, valid[:, 0].sum(1)) for x in (self.heavy, self.recent))
        most = sum(x if isinstance(x, int) else int(valid.shape[2] * x) for x in (self.heavy, self.recent))
        return Hitters(received, heavy, recent, most)

    def _evict(self, memory: Hitters, valid: Tensor) -> Reduction:
        scores = memory.scores
        if self.heads == "shared":
            scores, valid = scores.sum(1, keepdim=True), valid[:, :1]
        held = valid.sum(2, keepdim=True)
        after = held - valid.long().cumsum(2)  # tokens behind this one
        scores = scores.masked_fill(after < memory.recent[:, None, None], torch.inf)
        scores = scores.masked_fill(~valid, -torch.inf)
        n = min(memory.most, scores.shape[2])
        order = scores.argsort(dim=2, descending=True, stable=True)[:, :, :n]
        places = torch.arange(n, device=order.device)
        stays = (places < (memory.heavy + memory.recent)[:, None, None]) & valid.gather(2, order)
        order = order.masked_fill(~stays, scores.shape[2]).sort(dim=2).values
        stays = order < scores.shape[2]
        order = order.masked_fill(~stays, 0)
        spread = order.expand(-1, memory.scores.shape[1], -1)
        memory.scores = memory.scores.gather(2, spread) * stays
        if self.heads == "shared":
            return Reduction(order[:, 0], valid=stays[:, 0])
        return Reduction(order, valid=stays)


def _tokens(budget: int | float, length: Tensor) -> Tensor:
    """int [B]: a share of each length, rounded down, or the number itself."""
    if isinstance(budget, int):
        return torch.full_like(length, budget)
    return (length.double() * budget).floor().long()
