"""Which conversations make up each step: a function of the seed and the step, so that a resumed run sees the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch


@dataclass(frozen=True)
class Order:
    """words: length of each conversation; shown: whether it has a picture; batch, micro: conversations per step and per
    forward pass. `group`: batches of one modality, longest first within a batch (LLaVA's group_by_modality_length:
    llava/train/llava_trainer.py at c121f043); what is left over makes up mixed batches at the end of the shuffle."""

    words: tuple[int, ...]
    shown: tuple[bool, ...]
    batch: int
    micro: int
    seed: int
    group: bool = True

    @property
    def per_epoch(self) -> int:
        """Steps per epoch; the last one may be short."""
        return -(-len(self.words) // self.batch)

    def micros(self, step: int) -> list[list[int]]:
        """The forward passes of a step, each of one modality."""
        epoch, place = divmod(step, self.per_epoch)
        members = _epoch(self, epoch)[place]
        return [
            some[start : start + self.micro]
            for kind in (True, False)
            if (some := [i for i in members if self.shown[i] == kind])
            for start in range(0, len(some), self.micro)
        ]


@lru_cache(maxsize=4)
def _epoch(order: Order, epoch: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(order.seed * 1_000_003 + epoch)
    shuffled = torch.randperm(len(order.words), generator=generator).tolist()
    if not order.group:
        return _cut(shuffled, order.batch)
    whole, rest = [], []
    for kind in (True, False):
        for some in _cut([i for i in shuffled if order.shown[i] == kind], order.batch):
            if len(some) == order.batch:
                whole.append(sorted(some, key=lambda i: -order.words[i]))
            else:
                rest += some
    batches = whole + _cut(rest, order.batch)
    return [batches[k] for k in torch.randperm(len(batches), generator=generator).tolist()]


def _cut(items: Sequence[int], size: int) -> list[list[int]]:
    return [list(items[start : start + size]) for start in range(0, len(items), size)]
