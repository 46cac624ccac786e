"""Average pooling of the patch grid: "Spatial pooling" of IVTP (ECCV 2024), Table 1 (24 x 24 -> 8 x 8 by 3 x 3 averages)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from prunegrid.reduce.flops import Flops, Seen, product
from prunegrid.reduce.methods.spatial import grid
from prunegrid.reduce.places import Place, Site
from prunegrid.reduce.reducer import Host, Reducer
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class SpatialPool(Reducer):
    """The mean of each cell of an `out` x `out` grid, before the projector; the cell's centre patch stands for it. That it
    acts behind the whole ViT follows from the paper's TFLOPs; there is no code.

    [B, N, C] -> [B, n, C], n = out^2.
    Cost: 2 n (P + N) C, the means as one dense product. No sync.
    """

    out: int = 8

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        side = shape.vision.side
        if self.out < 1 or side % self.out:
            divisors = [d for d in range(1, side + 1) if side % d == 0]
            raise ValueError(
                f"SpatialPool: out={self.out} must divide the {side} patches per side: {divisors}"
            )
        return (Site(Place.FEATURES),)

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction:
        batch, count, _ = view.tokens.shape
        side, device = state.shape.vision.side, view.tokens.device
        cell = side // self.out
        patch = torch.arange(count, device=device)
        group = (patch // side // cell) * self.out + (patch % side) // cell
        weights = torch.zeros(self.out**2, view.prefix.shape[1] + count, device=device)
        weights[group, view.prefix.shape[1] + patch] = 1 / cell**2
        keep = grid(side, self.out, self.out).to(device)
        return Reduction(
            keep.expand(batch, -1),
            weights=weights.expand(batch, -1, -1),
            group=group.expand(batch, -1),
            made=0,
        )

    def flops(self, host: Host, seen: Seen) -> Flops:
        vision = host.shape.vision
        return product(self.out**2, vision.prefix + seen.features(host.shape), vision.width)
