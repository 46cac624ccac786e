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
from prunegrid.reduce.ops import first, pack, top
from prunegrid.reduce.places import Site
from prunegrid.reduce.reducer import check_budget
from prunegrid.reduce.view import Reduction, TokenView


@dataclass(frozen=True)
class PruMergePlus(Merging):
    """Three readings of "add spatial tokens".

    fixed (the released training path, and what the published 25 % and 50 % rows fit): N*keep/2 tokens by attention
    and every int(2/keep)-th token from half a stride on, duplicates included.
    adaptive (the released inference path): outliers, then every int(int(N/m)/3)-th token but the last, less those
    already there: a staircase of counts; from m = N/6 + 1 on nothing is pruned.
    paper (Algorithm 1): m outliers and m more, evenly spaced over the rest: 2m tokens.
    """

    sampling: Literal["fixed", "adaptive", "paper"] = "fixed"
    keep: float = 0.25  # fixed only: share of the tokens that is sent, remainder token not counted

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sampling not in ("fixed", "adaptive", "paper"):
            raise ValueError(
                f"PruMergePlus: sampling={self.sampling!r} must be 'fixed', 'adaptive' or 'paper'"
            )
        check_budget(float(self.keep), "PruMergePlus")

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction:
        a = self.class_attention(view)
        count = a.shape[1]
        if self.sampling == "fixed":
            ratio = self.keep / 2
            m = torch.full_like(view.valid.sum(1), max(1, math.floor(count * ratio + 1e-6)))
            stride = max(1, math.floor(1 / ratio + 1e-6))
            spatial = torch.arange(stride // 2, count, stride, device=a.device).expand(len(a), -1)
            extra = view.valid.gather(1, spatial)
        else:
            m = self.outliers(a, view.valid)
        chosen = top(a, int(m.max()), view.valid)
        picked = first(m, chosen.shape[1])
        if self.sampling != "fixed":
            taken = torch.zeros_like(view.valid).scatter(1, chosen, picked)
            rule = _staircase if self.sampling == "adaptive" else _even
            spatial, extra = rule(m, view.valid & ~taken)
        keep, valid = torch.cat([chosen, spatial], 1), torch.cat([picked, extra], 1)
        order = (~valid).to(torch.int8).argsort(dim=1, stable=True)  # close the gap behind fewer outliers
        keep, valid = keep.gather(1, order), valid.gather(1, order)
        width = int(valid.sum(1).max())
        return self.finish(view, a, keep[:, :width], valid[:, :width], {"selected": m.float()})


def _staircase(m: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """Every stride-th token from 0 to N - 2 that is free, stride = int(int(N / m) / 3): indices, valid [B, n]."""
    count = free.shape[1]
    stride = (count // m // 3).clamp_min(1)
    place = torch.arange(count, device=free.device)
    return pack(free & (place % stride[:, None] == 0) & (place < count - 1))


def _even(m: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """m of the free tokens, at the centres of m equal stretches of them: indices, valid [B, n]."""
    pool, _ = pack(free)
    total = free.sum(1, keepdim=True)
    wanted = torch.minimum(m[:, None], total)
    i = torch.arange(int(m.max()), device=free.device)[None, :]
    valid = i < wanted
    spot = ((2 * i + 1) * total // (2 * wanted.clamp_min(1))).clamp_max(pool.shape[1] - 1)
    return pool.gather(1, spot), valid
