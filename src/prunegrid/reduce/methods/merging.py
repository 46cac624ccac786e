"""What the PruMerge family shares: class attention, outliers, and merging by nearest keys.

arXiv:2403.15388, sections 3.2 and 3.3; official code 42Shawn/LLaVA-PruMerge at 097c041 (clip_encoder.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from prunegrid.reduce.ops import first
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.reducer import Reducer
from prunegrid.reduce.view import Reduction, TokenView

Variant = Literal["released", "paper"]


@dataclass(frozen=True)
class Merging(Reducer):
    """Parameters of attention, outliers and merging; `variant` decides what is left None.

    released: q and k of the LAST layer (which runs after the features are taken), heads joined, cosine similarity of
    keys, centre with weight 1, a remainder token at the end, descending order. paper: the penultimate layer, softmax
    per head and then the mean, dot products with pruned tokens only, centre left out, no remainder, raster order.
    """

    variant: Variant = "released"
    fence: float = 1.5  # outliers lie above Q3 + fence * (Q3 - Q1)
    minimum: int = 1  # fewest tokens selected per image
    ratio: Literal["image", "batch"] = (
        "image"  # batch: one share of outliers for all images, as the code does
    )
    merge: bool = True
    k: int = 32  # nearest keys merged into each centre
    layer: int | None = None
    heads: Literal["joined", "split"] | None = None
    similarity: Literal["cosine", "dot"] | None = None
    neighbours: Literal["all", "pruned"] | None = None  # who may be merged into a centre: also other centres?
    centre: bool | None = None
    normalise: bool = False  # weights of each merged token sum to 1
    remainder: bool | None = None
    order: Literal["score", "raster"] | None = None

    def __post_init__(self) -> None:
        who = type(self).__name__
        if self.variant not in ("released", "paper"):
            raise ValueError(f"{who}: variant={self.variant!r} must be 'released' or 'paper'")
        if self.fence < 0:
            raise ValueError(f"{who}: fence={self.fence} must not be negative")
        if self.minimum < 1:
            raise ValueError(f"{who}: minimum={self.minimum} must be at least 1")
        if self.k < 1:
            raise ValueError(f"{who}: k={self.k} must be at least 1")
        released = self.variant == "released"
        defaults: dict[str, Any] = {
            "layer": -1 if released else -2,
            "heads": "joined" if released else "split",
            "similarity": "cosine" if released else "dot",
            "neighbours": "all" if released else "pruned",
            "centre": released,
            "remainder": released and self.merge,
            "order": "score" if released else "raster",
        }
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)

    def sites(self, shape: Any) -> tuple[Site, ...]:
        assert self.layer is not None
        return (Site(Place.FEATURES, probe=Probe((self.layer,), keys=True)),)

    def class_attention(self, view: TokenView) -> Tensor:
        """[B, N] fp32: how the CLS attends to each patch; softmax over CLS and all patches."""
        assert self.layer is not None
        logits = view.logits(self.layer)[:, :, 0]  # [B, H, K], scaled by Dh^-0.5
        if self.heads == "split":
            rows = logits.softmax(-1).mean(1)
        else:  # one dot product over all heads, scaled by C^-0.5
            rows = (logits.sum(1) * logits.shape[1] ** -0.5).softmax(-1)
        return view.select(self.layer, rows)

    def outliers(self, a: Tensor, valid: Tensor) -> Tensor:
        """[B] int: how many patches lie above the upper fence; at least `minimum`. a, valid [B, N]."""
        spread = a.masked_fill(~valid, torch.nan)
        if self.ratio == "batch":
            q1, q3 = torch.nanquantile(
                spread.flatten(), torch.tensor([0.25, 0.75], device=a.device, dtype=a.dtype)
            )
            share = ((a > q3 + self.fence * (q3 - q1)) & valid).sum() / valid.sum()
            counts = (
                valid.sum(1) * share + 1e-4
            ).long()  # int(N * share), safe from rounding below the integer
        else:
            q1, q3 = torch.nanquantile(
                spread, torch.tensor([0.25, 0.75], device=a.device, dtype=a.dtype), dim=1
            )
            counts = ((a > (q3 + self.fence * (q3 - q1))[:, None]) & valid).sum(1)
        return counts.clamp_min(self.minimum)

    def finish(
        self, view: TokenView, a: Tensor, keep: Tensor, valid: Tensor, note: dict[str, Tensor], ragged: bool
    ) -> Reduction:
        """Order the selected tokens, and merge the others into them. keep, valid [B, n], selected first; `ragged`:
        valid holds a False."""
        if self.order == "raster":
            order = keep.masked_fill(~valid, view.tokens.shape[1]).argsort(dim=1, stable=True)
            keep, valid = keep.gather(1, order), valid.gather(1, order)
        if not self.merge:
            return Reduction(keep, valid=valid, note=note, ragged=ragged)
        weights, rest = self.weights(view, a, keep, valid)
        if self.remainder:  # right behind the last selected token of each image
            end = valid.sum(1)
            weights, keep, valid = _append(weights, rest, keep, valid, end)
        pad = weights.new_zeros(*weights.shape[:2], view.prefix.shape[1])
        made = int(bool(self.remainder))
        weights = torch.cat([pad, weights], -1)
        return Reduction(keep, weights, valid, note=note, ragged=ragged, made=made)

    def weights(self, view: TokenView, a: Tensor, keep: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Mixing weights [B, n, N] and the remainder's [B, N].

        Candidates are the selected ENTRIES (a token that was selected twice is there twice) and the complement.
        The released complement has N - n entries: each duplicate pushes out the smallest unselected index.
        """
        assert self.layer is not None
        keys = view.keys[self.layer].float().transpose(1, 2).flatten(2)  # [B, N, C]
        keys = F.normalize(keys, dim=-1) if self.similarity == "cosine" else keys
        batch, count = a.shape
        times = a.new_zeros(batch, count + 1).scatter_add(
            1, keep.masked_fill(~valid, count), torch.ones_like(keep, dtype=a.dtype)
        )[:, :count]
        rest = self._complement(times, valid, view.valid)
        entries = torch.cat(
            [keep, torch.arange(count, device=keep.device).expand(batch, -1)], 1
        )  # [B, n + N]
        alive = torch.cat([valid & (self.neighbours == "all"), rest], 1)
        centre = keys.gather(1, keep[..., None].expand(-1, -1, keys.shape[-1]))
        near = centre @ keys.transpose(1, 2)  # [B, n, N]
        near = near.gather(2, entries[:, None].expand(-1, keep.shape[1], -1)).masked_fill(
            ~alive[:, None], -torch.inf
        )
        near.diagonal(dim1=1, dim2=2).fill_(-torch.inf)  # a centre is no neighbour of itself
        best = near.topk(min(self.k, near.shape[2]), dim=-1)
        which = entries[:, None].expand(-1, keep.shape[1], -1).gather(2, best.indices)
        share = a[:, None].expand(-1, keep.shape[1], -1).gather(2, which) * (best.values > -torch.inf)
        weights = a.new_zeros(batch, keep.shape[1], count).scatter_add(2, which, share)
        if self.centre:
            weights = weights.scatter_add(2, keep[..., None], torch.ones_like(keep[..., None], dtype=a.dtype))
        remainder = a * rest
        if self.normalise:
            weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-12)
            remainder = remainder / remainder.sum(-1, keepdim=True).clamp_min(1e-12)
        return weights, remainder

    @staticmethod
    def _complement(times: Tensor, valid: Tensor, real: Tensor) -> Tensor:
        """bool [B, N]: unselected tokens, less the smallest ones, one per duplicate."""
        unselected = (times == 0) & real
        duplicates = valid.sum(1) - (times > 0).sum(1)
        return unselected & (unselected.long().cumsum(1) > duplicates[:, None])


def _append(
    weights: Tensor, row: Tensor, keep: Tensor, valid: Tensor, end: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Put `row` [B, N] as a new token (keep -1) at position end[b] of each sample."""
    batch, _, count = weights.shape
    weights = torch.cat([weights, weights.new_zeros(batch, 1, count)], 1)
    keep = torch.cat([keep, keep[:, :1]], 1).scatter(1, end[:, None], -1)
    weights = weights.scatter(1, end[:, None, None].expand(-1, 1, count), row[:, None])
    return weights, keep, first(end + 1, keep.shape[1])
