"""DivPrune: the subset of projected tokens with the greatest minimum distance (greedy MaxMin diversity).

arXiv:2503.02175; official code vbdi/divprune at 799e2d9.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from prunegrid.reduce.flops import Flops, Seen, product, unit
from prunegrid.reduce.ops import raster
from prunegrid.reduce.places import Place, Site
from prunegrid.reduce.reducer import Host, Reducer, budget, check_budget
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class DivPrune(Reducer):
    """`keep` tokens in raster order; distance = 1 - cosine of PROJECTED features. First the token whose nearest
    neighbour is farthest, then again and again the one whose nearest selected token is farthest. No text, no attention.

    Differs from the official code: a running minimum, O(keep N) instead of O(keep^2 N); batches; the image's place is
    known.
    [B, N, D] -> keep [B, n].
    Cost: 2 N^2 D for the similarities, [B, N, N] in fp32, then n steps over N numbers. No sync.
    """

    keep: int | float = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_budget(self.keep, "DivPrune")

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        budget(self.keep, shape.visual_tokens, "DivPrune")
        return (Site(Place.EMBEDS),)

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction:
        n = budget(self.keep, view.tokens.shape[1], "DivPrune")
        unit = F.normalize(view.tokens.float(), dim=-1)
        near = unit @ unit.transpose(1, 2)
        near = near.masked_fill(~view.valid[:, None, :], -torch.inf)
        near.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
        closest = near.amax(2).masked_fill(~view.valid, torch.inf)
        near.diagonal(dim1=1, dim2=2).fill_(torch.inf)  # a chosen token is out
        picks = []
        rows = torch.arange(len(near), device=near.device)
        for i in range(n):
            pick = closest.argmin(1)
            picks.append(pick)
            chosen = near[rows, pick]
            closest = torch.where(view.valid, chosen if i == 0 else torch.maximum(closest, chosen), torch.inf)
        keep = raster(torch.stack(picks, 1))[0]
        return Reduction(keep)

    def flops(self, host: Host, seen: Seen) -> Flops:
        n, width = seen.projector, host.shape.projector.outputs
        return unit(n, width) + product(n, width, n)
