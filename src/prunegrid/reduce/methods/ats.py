"""ATS: sample tokens by inverse transform of their significance; the number adapts to the picture.

arXiv:2111.15667; official code adaptivetokensampling/ATS at 11bc16b; Haurum's benchmark at 88fe07e (which PruMerge
Table 7 used). Significance of a patch = its CLS attention times the length of its value vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from prunegrid.reduce.flops import Flops, Seen, each, vit_rows
from prunegrid.reduce.methods.vit_schedule import geometric, staged
from prunegrid.reduce.ops import pack, raster, top
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.reducer import Host, Reducer, budget, check_budget
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class ATS(Reducer):
    """At most `keep` patches after the last stage, the same share per stage; fewer where few points hit most.

    official: length of the value with heads joined; the CDF over ASCENDING scores, stretched to [0, 1], is hit by
    `references` - 1 points between its smallest non-zero value and 1 (null: as many as the stage may keep); of too
    many the most significant stay; ascending order; never under 7 patches. haurum: lengths per head; CDF in RASTER
    order; points (2i - 1) / 2K; raster order. `select` top is the fixed-k twin: the most significant ones, as many
    as the stage may keep, in the variant's order.

    The official code drops rows of the attention before they meet the values; here the rows are computed and dropped
    between attention and MLP: the same numbers, the row's own attention output is wasted work. Its fixed 197
    references only run on 197 tokens.
    [B, H, 1, N] rows, [B, H, N, Dh] values -> [B, N] -> keep, valid [B, n].
    Cost: per stage one CLS row (2 N C), the lengths (2 N C) and a sort of N numbers. One sync per stage for the
    ragged counts; with `select` top none.
    """

    keep: int | float = 64
    variant: Literal["official", "haurum"] = "official"
    stages: int = 3
    layers: Sequence[int] | None = None
    references: int | None = None
    select: Literal["sample", "top"] = "sample"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_budget(self.keep, "ATS")
        if self.references is not None and self.references < 3:
            raise ValueError(f"ATS: references={self.references} must be at least 3")

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        budget(self.keep, shape.vision.patches, "ATS")
        layers = staged(shape, self.stages, self.layers, "ATS")
        return [Site(Place.VISION, i, Probe((i,), values=True), mid=True) for i in layers]

    def limit(self, shape: ModelShape, layer: int) -> int:
        """Most patches after the stage at `layer`."""
        layers = staged(shape, self.stages, self.layers, "ATS")
        patches = shape.vision.patches
        counts = geometric(patches, budget(self.keep, patches, "ATS"), len(layers))
        return counts[layers.index(layer)]

    def reduce(self, site: Site, view: TokenView, state: Host) -> Reduction:
        assert site.layer is not None
        rows, values = view.attention(site.layer).squeeze(2), view.values[site.layer].float()
        lengths = values.norm(dim=-1)  # [B, H, N]
        per_head = self.variant == "haurum"
        score = (rows * lengths).sum(1) if per_head else rows.sum(1) * lengths.norm(dim=1)
        most = self.limit(state.shape, site.layer)
        if self.select == "top":
            best = top(score, min(most, score.shape[1]), view.valid)
            return Reduction(best.flip(1) if not per_head else raster(best)[0])
        keep, valid, ragged = self.sample(score * view.valid, view.valid, most)
        note = {"sampled": valid.sum(1).float()}
        return Reduction(keep, valid=valid, note=note, ragged=ragged)

    def sample(self, score: Tensor, real: Tensor, most: int) -> tuple[Tensor, Tensor, bool]:
        """score [B, N], 0 where not `real` -> patches [B, n], valid [B, n], whether ragged; n <= most (or 7)."""
        official = self.variant == "official"
        most = max(most, 7) if official else most
        sort = score.masked_fill(~real, torch.inf) if official else (~real).to(torch.int8)
        order = sort.argsort(dim=1, stable=True)  # what is not real comes last
        score, real = score.gather(1, order), real.gather(1, order)
        cdf = (score / score.sum(1, keepdim=True)).double().cumsum(1)
        if official:
            cdf = (cdf - cdf[:, :1]) / (cdf[:, -1:] - cdf[:, :1]).clamp_min(1e-12)
            start = cdf.masked_fill(cdf <= 0, torch.inf).amin(1, keepdim=True).clamp_max(1.0)
            steps = (self.references or most + 1) - 2
            points = start + (1 - start) * _upto(steps + 1, cdf) / steps
        else:
            points = ((2 * _upto(most, cdf) + 1) / (2 * most)).expand(len(cdf), -1)
        hit = torch.zeros_like(real).scatter(1, nearest(cdf, points), True) & real
        if official:  # of too many the last, most significant ones
            hit = hit & (hit.flip(1).long().cumsum(1).flip(1) <= most)
        slots, valid, ragged = pack(hit)
        return order.gather(1, slots), valid, ragged

    def flops(self, host: Host, seen: Seen) -> Flops:
        vision, layers = host.shape.vision, staged(host.shape, self.stages, self.layers, "ATS")
        lengths = (each(2, seen.vision[i] - vision.prefix, vision.width) for i in layers)
        return sum((*lengths, *(vit_rows(vision, seen, i) for i in layers)), Flops())


def _upto(points: int, like: Tensor) -> Tensor:
    """[1, points]: 0, 1, 2, ..."""
    return torch.arange(points, device=like.device, dtype=like.dtype)[None]


def nearest(cdf: Tensor, points: Tensor) -> Tensor:
    """cdf [B, N] ascending, points [B, M] -> the nearest entry [B, M], the first one where several are as near."""
    points = points.contiguous()
    above = torch.searchsorted(cdf, points).clamp_max(cdf.shape[1] - 1)
    below = (above - 1).clamp_min(0)
    closer = points - cdf.gather(1, below) <= cdf.gather(1, above) - points
    value = cdf.gather(1, torch.where(closer, below, above))
    return torch.searchsorted(cdf, value)
