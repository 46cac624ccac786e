"""Image downsampling: the ViT sees a smaller picture, with interpolated position embeddings. The honest rival of
any reduction by the same factor, as it also makes the ViT cheaper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

from prunegrid.reduce.flops import Flops, Seen, each
from prunegrid.reduce.places import Place, Site
from prunegrid.reduce.reducer import Host, Reducer
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class Downsample(Reducer):
    """Pictures of `side` x `side` patches: side^2 tokens in the ViT and in the language model. This project's own rival.

    Antialiased; normalised pixels are resized, which is the same as before as both steps are linear (bicubic
    overshoot is not clipped).
    [B, 3, h, h] -> [B, 3, p, p], p pixels for `side` patches.
    Cost: the resize, 3 x 2 (h + p) p times the 4 h / p pixels that a bicubic one mixes, and 32 C side^2 for the
    positions. No sync.
    """

    side: int = 8
    mode: Literal["bicubic", "bilinear"] = "bicubic"

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        if not 1 <= self.side <= shape.vision.side:
            raise ValueError(
                f"Downsample: side={self.side} must lie in 1..{shape.vision.side}, the patches per side"
            )
        return (Site(Place.IMAGE),)

    def edit(self, site: Site, hidden: Tensor, state: Any, valid: Tensor | None = None) -> Tensor:
        pixels = self.side * state.shape.vision.patch_size
        if hidden.shape[-2:] == (pixels, pixels):
            return hidden
        small = F.interpolate(hidden.float(), size=(pixels, pixels), mode=self.mode, antialias=True)
        return small.to(hidden.dtype)

    def flops(self, host: Host, seen: Seen) -> Flops:
        vision = host.shape.vision
        if self.side == vision.side:
            return Flops()
        # One direction after the other, each new pixel from `taps` old ones; positions from 4 x 4 neighbours.
        large, small = vision.image_size, self.side * vision.patch_size
        taps = (4 if self.mode == "bicubic" else 2) * large / small
        pixels = each(2 * taps, vision.channels, large + small, small)
        return pixels + each(2 * 16, self.side**2, vision.width)
