"""EViT: keep the patches that CLS attends to, fuse the others into one token, at a few ViT blocks.

arXiv:2202.07800; official code youweiliang/evit at 5ca95a7; Haurum's benchmark (arXiv:2308.04657) at 88fe07e.
Between attention and MLP: a_j = mean over heads of the CLS row; the k highest stay in DESCENDING order; fused =
sum over the others of a_j x_j (not normalised), appended, and an ordinary token for later stages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from prunegrid.reduce.flops import Flops, Seen, mixed, vit_rows
from prunegrid.reduce.methods.matching import join, places
from prunegrid.reduce.methods.vit_schedule import geometric, staged
from prunegrid.reduce.ops import top
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.reducer import Host, Reducer, budget, check_budget
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class EViT(Reducer):
    """`count` keep: `keep` tokens are left after the last stage, fused ones counted, the same share at every stage.
    official: each stage keeps ceil(rate x tokens entering); haurum: int(rate^stage x original patches); in both the
    fused tokens come on top.

    Differs from the official code: no warm-down of the rate (inference); stages at equal distances.
    [B, H, 1, N] rows -> [B, N] -> keep [B, k + 1], the fused token last.
    Cost: per stage one CLS row (2 N C) and 2 N C to fuse. No sync.
    """

    count: Literal["keep", "official", "haurum"] = "keep"
    keep: int | float = 64
    rate: float = 0.63
    stages: int = 3
    layers: Sequence[int] | None = None
    fuse: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_budget(self.keep, "EViT")
        if not 0 < self.rate <= 1:
            raise ValueError(f"EViT: rate={self.rate} must lie in (0, 1]")

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        layers = staged(shape, self.stages, self.layers, "EViT")
        self.kept(shape, len(layers))
        return [Site(Place.VISION, i, Probe((i,)), mid=True) for i in layers]

    def kept(self, shape: ModelShape, stages: int) -> list[int]:
        """Patches kept by each stage, the fused token not counted."""
        patches, counts = shape.vision.patches, []
        if self.count == "keep":
            final = budget(self.keep, patches, "EViT")
            counts = [n - (self.fuse and n < patches) for n in geometric(patches, final, stages)]
            if counts[-1] < 1:
                raise ValueError(
                    f"EViT: keep={self.keep} leaves no patch besides the fused token; at least 2"
                )
            return counts
        now = patches
        for stage in range(1, stages + 1):
            official = self.count == "official"
            k = math.ceil(self.rate * now) if official else max(1, int(self.rate**stage * patches))
            now = k + (self.fuse and k < now)
            counts.append(k)
        return counts

    def reduce(self, site: Site, view: TokenView, state: Host) -> Reduction | None:
        assert site.layer is not None
        layers = staged(state.shape, self.stages, self.layers, "EViT")
        k, count = self.kept(state.shape, len(layers))[layers.index(site.layer)], view.tokens.shape[1]
        if k >= count:
            return None
        a = view.attention(site.layer).mean((1, 2))
        keep = top(a, k, view.valid)
        if not self.fuse:
            return Reduction(keep)
        group = places(keep, count)
        share = torch.where(group < 0, a * view.valid, 1.0)
        fused = keep.new_full((len(keep), 1), -1)
        keep = torch.cat([keep, fused], 1)
        return join(keep, group.masked_fill(group < 0, k), share, made=1)

    def flops(self, host: Host, seen: Seen) -> Flops:
        vision, made = host.shape.vision, Flops()
        for i in staged(host.shape, self.stages, self.layers, "EViT"):
            made += vit_rows(vision, seen, i)
            if self.fuse and seen.mlp[i] < seen.vision[i]:
                made += mixed(seen.vision[i] - vision.prefix, vision.width)
        return made
