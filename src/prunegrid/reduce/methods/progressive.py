"""Dropping a few patches in every ViT layer: Random and TopK of IVTP (ECCV 2024), Table 1, which have no code.

Published ViT cost (.526 of the full tower at 576 -> 64) fits a constant number per layer: .523 before each layer,
.538 between attention and MLP, .560 after the layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from prunegrid.reduce.flops import Flops, Seen, vit_rows
from prunegrid.reduce.methods.vit_schedule import executed, geometric, linear
from prunegrid.reduce.ops import raster, top
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.reducer import Host, Reducer, budget, check_budget
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class Progressive(Reducer):
    """`keep` patches at the ViT's output, reached layer by layer; CLS stays; raster order.

    cls: the layer's own CLS attention, softmax per head, mean over heads (EViT without fusing). random: one draw
    per patch from the seed and the sample's id, so that the patches alive are a uniform sample at every layer.
    The counts are over the layers that run before the features are read.
    [B, H, 1, N] rows -> [B, N] -> keep [B, n].
    Cost: cls: one CLS row (2 N C) per layer; random: draws on the host, N per sample and layer. No sync.
    """

    keep: int | float = 64
    score: Literal["cls", "random"] = "cls"
    schedule: Literal["linear", "geometric"] = "linear"
    mid: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_budget(self.keep, "Progressive")

    def counts(self, shape: ModelShape) -> list[int]:
        """Patches left at each executed layer."""
        patches, layers = shape.vision.patches, executed(shape)
        step = linear if self.schedule == "linear" else geometric
        return step(patches, budget(self.keep, patches, "Progressive"), len(layers))

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        self.counts(shape)  # refuses a budget beyond the model's patches
        return [
            Site(Place.VISION, i, Probe((i,)) if self.score == "cls" else None, mid=self.mid)
            for i in executed(shape)
        ]

    def reduce(self, site: Site, view: TokenView, state: Host) -> Reduction:
        assert site.layer is not None
        n = min(self.counts(state.shape)[site.layer], view.tokens.shape[1])
        score = view.attention(site.layer).mean((1, 2)) if self.score == "cls" else self._drawn(view, state)
        return Reduction(raster(top(score, n, view.valid))[0])

    def flops(self, host: Host, seen: Seen) -> Flops:
        layers = executed(host.shape) if self.score == "cls" else ()
        return sum((vit_rows(host.shape.vision, seen, i) for i in layers), Flops())

    @staticmethod
    def _drawn(view: TokenView, host: Host) -> Tensor:
        draws = [torch.rand(host.shape.vision.patches, generator=g) for g in view.generators(host.seed)]
        return torch.stack(draws).to(view.index.device).gather(1, view.index)
