"""What the cache forgets, told to the oracle; and the acts that make a reducer forget the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from prunegrid.reduce import Reduction

from .lab import KV_HEADS, Act


class Forget:
    """gone[layer][KV head]: columns of prompt and answer that are forgotten; it only grows."""

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
