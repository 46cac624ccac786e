"""PruMerge+: PruMerge's selection with uniformly spaced tokens added, then the same merging.

arXiv:2403.15388, section 3.4; official code 42Shawn/LLaVA-PruMerge at 097c041, token_prune_merge_advanced_plus.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from prunegrid.reduce.methods.merging import Merging
from prunegrid.reduce.ops import first, span, top
from prunegrid.reduce.places import Site
from prunegrid.reduce.reducer import budget, budgets, check_budget
from prunegrid.reduce.view import Reduction, TokenView


@dataclass(frozen=True)
class PruMergePlus(Merging):
    """Readings of "add spatial tokens".

    fixed (the released training path, and what the published 25 % and 50 % rows fit): N*keep/2 tokens by attention
    and every int(2/keep)-th token but the last from half a stride on, duplicates included. Only a share of 2 / a whole
    number is what is sent; any other sends more (0.7: 85 %), where the released code stops.
    adaptive (the released inference path): outliers, then every int(int(N/m)/3)-th token but the last, less those
    already there: a staircase of counts; from m = N/6 + 1 on nothing is pruned.
    paper (Algorithm 1): m outliers and m more, evenly spaced over the rest: 2m tokens.
    topk (the fixed-k twin of the last two): `keep` tokens (int, or a share) on any picture, half of them by
    attention, the others evenly spaced over the rest. The remainder token comes on top of every count.
    The adaptive path of the official code takes one image at a time; here batches, each image with its own count.

    a [B, N] -> keep, valid [B, m]; a and the merging are those of `Merging`.
    Cost: that of `Merging`, with as many centres as tokens are sent, and sorts of N numbers. No sync for fixed and
    topk; one for the ragged counts of the others.
    """

    sampling: Literal["fixed", "adaptive", "paper", "topk"] = "fixed"
    keep: int | float = 0.25  # fixed: share of the tokens that is sent; topk: tokens, or a share

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sampling == "fixed" and isinstance(self.keep, int):
            raise ValueError(f"PruMergePlus: sampling=fixed needs a share in (0, 1], got keep={self.keep}")
        check_budget(self.keep, "PruMergePlus")

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction:
        a = self.class_attention(view)
        if self.sampling == "fixed":
            return self._fixed(view, a)
        count, place = a.shape[1], torch.arange(a.shape[1], device=a.device)
        if self.sampling == "topk":
            total = budget(self.keep, count, "PruMergePlus")
            wanted = budgets(self.keep, view.valid)
            m = (wanted + 1) // 2
            more = wanted - m
        else:
            m = more = self.outliers(a, view.valid)
        order = a.masked_fill(~view.valid, -torch.inf).argsort(dim=1, descending=True, stable=True)
        rank = order.argsort(dim=1)
        picked = (rank < m[:, None]) & view.valid
        free = view.valid & ~picked
        spatial = _staircase(m, free, view.valid) if self.sampling == "adaptive" else _even(more, free)
        # By falling attention first, then by place; what is neither comes last.
        key = torch.where(picked, rank, torch.where(spatial, count + place, 2 * count))
        counts = (picked | spatial).sum(1)
        width, ragged = (total, False) if self.sampling == "topk" and view.full else span(counts)
        keep = key.argsort(dim=1, stable=True)[:, :width]
        return self.finish(view, a, keep, first(counts, width), {"selected": m.float()}, ragged)

    def _fixed(self, view: TokenView, a: Tensor) -> Reduction:
        count, ratio = a.shape[1], self.keep / 2
        most = max(1, math.floor(count * ratio + 1e-6))
        stride = max(1, math.floor(1 / ratio + 1e-6))
        own = view.valid.sum(1)
        m = (own.double() * ratio + 1e-6).floor().long().clamp_min(1)
        spatial = torch.arange(stride // 2, count - 1, stride, device=a.device).expand(len(a), -1)
        keep = torch.cat([top(a, most, view.valid), spatial], 1)
        valid = torch.cat([first(m, most), spatial < own[:, None] - 1], 1)
        ragged, note = False, {"selected": m.float()}
        if not view.full:
            order = (~valid).to(torch.int8).argsort(dim=1, stable=True)  # close the gap behind fewer tokens
            width, ragged = span(valid.sum(1))
            keep, valid = (x.gather(1, order)[:, :width] for x in (keep, valid))
        return self.finish(view, a, keep, valid, note, ragged)


def _staircase(m: Tensor, free: Tensor, valid: Tensor) -> Tensor:
    """bool [B, N]: every stride-th token from 0 to n - 2 that is free, stride = int(int(n / m) / 3); n: a sample's own
    tokens, which come first."""
    count = valid.sum(1, keepdim=True)
    stride = (count // m[:, None] // 3).clamp_min(1)
    place = torch.arange(free.shape[1], device=free.device)
    return free & (place % stride == 0) & (place < count - 1)


def _even(m: Tensor, free: Tensor) -> Tensor:
    """bool [B, N]: m of the free tokens, at the centres of m equal stretches of them."""
    batch, count = free.shape
    pool = (~free).to(torch.int8).argsort(dim=1, stable=True)
    total = free.sum(1, keepdim=True)
    wanted = torch.minimum(m[:, None], total)
    i = torch.arange(count, device=free.device)[None, :]
    spot = ((2 * i + 1) * total // (2 * wanted.clamp_min(1))).clamp_max(count - 1)
    spot = pool.gather(1, spot).masked_fill(i >= wanted, count)  # a spill column takes what is too much
    return free.new_zeros(batch, count + 1).scatter(1, spot, True)[:, :count]
