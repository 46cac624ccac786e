"""Random tokens, uniform without replacement: the floor that any score must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prunegrid.reduce.flops import Flops, Seen
from prunegrid.reduce.places import Place, Site
from prunegrid.reduce.reducer import Host, Reducer, budget, check_budget
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class Random(Reducer):
    """`keep` tokens of the ViT's output in raster order. The draw depends on the cell's seed and the sample's id
    alone, so neither the batch nor the order of samples shows in it.

    "Random sampling" of IVTP (ECCV 2024), Table 1, which has no code, drops inside the ViT: that is `progressive`.
    [B, N, C] -> keep [B, n].
    Cost: N draws per sample and a sort, on the host. No sync.
    """

    keep: int | float = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_budget(self.keep, "Random")

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        return (Site(Place.FEATURES),)

    def reduce(self, site: Site, view: TokenView, state: Host) -> Reduction:
        n = budget(self.keep, view.tokens.shape[1], "Random")
        valid = torch.ones(view.valid.shape, dtype=torch.bool) if view.full else view.valid.cpu()
        drawn = [_draw(real, n, g) for real, g in zip(valid, view.generators(state.seed), strict=True)]
        return Reduction(torch.stack(drawn).to(view.tokens.device))

    def flops(self, host: Host, seen: Seen) -> Flops:
        return Flops()


def _draw(valid: Tensor, n: int, generator: torch.Generator) -> Tensor:
    order = torch.rand(len(valid), generator=generator).masked_fill(~valid, -1.0).argsort(descending=True)
    return order[:n].sort().values
