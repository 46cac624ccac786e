"""What the PruMerge family shares: class attention, outliers, and merging by nearest keys.

arXiv:2403.15388, sections 3.2 and 3.3; official code 42Shawn/LLaVA-PruMerge at 097c041 (clip_encoder.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from prunegrid.reduce.flops import SOFTMAX, Flops, Seen, each, mixed, product, vit_rows
from prunegrid.reduce.ops import rows
from prunegrid.reduce.places import Place, Probe, Site, resolve_layer
from prunegrid.reduce.reducer import Host, Reducer
from prunegrid.reduce.view import Bags, Reduction, TokenView

Variant = Literal["released", "paper"]


@dataclass(frozen=True)
class Merging(Reducer):
    """Parameters of attention, outliers and merging; `variant` decides what is left None.

    released: q and k of the LAST layer (which runs after the features are taken), heads joined, cosine similarity of
    keys, centre with weight 1, a remainder token at the end, descending order. paper: the penultimate layer, softmax
    per head and then the mean, dot products with pruned tokens only, centre left out, no remainder, raster order.

    The released code's counts are those of fp16: `official_dtype` rounds the class attention wherever that code, run in
    fp16, does: queries and keys, their products, the scaled ones, the softmax. Neighbours are found in fp32 still, the
    features have the model's own dtype; a tower in another dtype than fp16 has other queries and keys to begin with.

    Attention a_j; centre i becomes x_i + the sum of a_j x_j over its k nearest (without x_i where `centre` is off), the
    remainder the sum of a_j x_j over all that are not selected. There: a loop over samples and centres, the N x N matrix
    of joined heads for its one row.
    [B, H, 1, K] row, [B, H, N, Dh] keys -> a [B, N] -> [B, m + 1, C].
    Cost: a CLS row (2 N C); for a layer that has not run by then its keys (2 N C^2); 2 m N C for the similarities of
    m centres, [B, m, N], a top-k of each row, 2 N C for the keys' lengths and 2 (m (k + 1) + N) C to mix. No sync of
    its own.
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
    official_dtype: bool = False  # class attention in fp16, as the released code has it

    def __post_init__(self) -> None:
        super().__post_init__()
        who = type(self).__name__
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
        if self.official_dtype and self.heads != "joined":
            raise ValueError(
                f"{who}: official_dtype is of the released attention, heads=joined, not {self.heads}"
            )

    def sites(self, shape: Any) -> tuple[Site, ...]:
        assert self.layer is not None
        return (Site(Place.FEATURES, probe=Probe((self.layer,), keys=True)),)

    def class_attention(self, view: TokenView) -> Tensor:
        """[B, N] fp32: how the CLS attends to each patch; softmax over CLS and all patches."""
        assert self.layer is not None
        logits = view.logits(self.layer)[:, :, 0]  # [B, H, K], scaled by Dh^-0.5
        if self.official_dtype:
            rows = self._half(view, logits[:, 0] == -torch.inf)
        elif self.heads == "split":
            rows = logits.softmax(-1).mean(1)
        else:  # one dot product over all heads, scaled by C^-0.5
            rows = (logits.sum(1) * logits.shape[1] ** -0.5).softmax(-1)
        return view.select(self.layer, rows)

    def _half(self, view: TokenView, unseen: Tensor) -> Tensor:
        """[B, K] the joined row with every step rounded to fp16; sums and exponentials in fp32, as kernels have them.
        unseen [B, K]: keys that are padding."""
        assert self.layer is not None
        seen = view.records[self.layer]
        query, keys = (x.transpose(1, 2).flatten(2).half().float() for x in (seen.query[:, :, :1], seen.key))
        products = (keys @ query.transpose(1, 2)).squeeze(2).half()
        logits = (products * keys.shape[2] ** -0.5).masked_fill(unseen, -torch.inf)
        return logits.softmax(1, dtype=torch.float32).half().float()

    def outliers(self, a: Tensor, valid: Tensor) -> Tensor:
        """[B] int: how many patches lie above the upper fence; at least `minimum`. a, valid [B, N]."""
        if self.ratio == "batch":
            bar = self._upper(a.flatten()[None], valid.flatten()[None])
            share = ((a > bar) & valid).sum() / valid.sum()
            # int(N * share), safe from rounding below the integer
            counts = (valid.sum(1) * share + 1e-4).long()
        else:
            counts = ((a > self._upper(a, valid)) & valid).sum(1)
        return counts.clamp_min(self.minimum)

    def _upper(self, a: Tensor, valid: Tensor) -> Tensor:
        """[B, 1] the upper fence, with linear interpolation between ranks; one sort."""
        ranked = a.masked_fill(~valid, torch.inf).sort(1).values
        last = (valid.sum(1, keepdim=True) - 1).clamp_min(0)
        place = torch.tensor([[0.25, 0.75]], device=a.device, dtype=a.dtype) * last
        low = place.floor().long()
        q = ranked.gather(1, low).lerp(ranked.gather(1, torch.minimum(low + 1, last)), place - low)
        return q[:, 1:] + self.fence * (q[:, 1:] - q[:, :1])

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
        bags = self.bags(view, a, keep, valid)
        if self.remainder:  # a new token behind all others
            keep = torch.cat([keep, torch.full_like(keep[:, :1], -1)], 1)
            valid = torch.cat([valid, torch.ones_like(valid[:, :1])], 1)
        return Reduction(
            keep, valid=valid, note=note, ragged=ragged, made=int(bool(self.remainder)), bags=bags
        )

    def bags(self, view: TokenView, a: Tensor, keep: Tensor, valid: Tensor) -> Bags:
        """A bag for each centre: itself and its nearest tokens; and one for the remainder.

        Candidates are the selected ENTRIES (a token that was selected twice is there twice) and the complement.
        The released complement has N - n entries: each duplicate pushes out the smallest unselected index.
        """
        batch, count = a.shape
        rest = self._complement(keep, valid, view.valid)
        tokens = torch.arange(count, device=keep.device).expand(batch, -1)
        entries = torch.cat([keep, tokens], 1)[:, None].expand(-1, keep.shape[1], -1)  # [B, n, n + N]
        alive = torch.cat([valid & (self.neighbours == "all"), rest], 1)
        near = self._near(view, keep).gather(2, entries).masked_fill(~alive[:, None], -torch.inf)
        near.diagonal(dim1=1, dim2=2).fill_(-torch.inf)  # a centre is no neighbour of itself
        best = near.topk(min(self.k, near.shape[2]), dim=-1, sorted=False)
        source = entries.gather(2, best.indices)
        share = a.gather(1, source.flatten(1)).view(source.shape) * (best.values > -torch.inf)
        if self.centre:
            source = torch.cat([keep[..., None], source], 2)
            share = torch.cat([torch.ones_like(share[..., :1]), share], 2)
        share = self._normalised(share).flatten(1)
        start = torch.arange(keep.shape[1], device=keep.device) * source.shape[2]
        source = source.flatten(1)
        if self.remainder:
            start = torch.cat([start, start.new_full((1,), source.shape[1])])
            source = torch.cat([source, tokens], 1)
            share = torch.cat([share, self._normalised(a * rest)], 1)
        return Bags(source, share, start.expand(batch, -1))

    def _normalised(self, share: Tensor) -> Tensor:
        return share / share.sum(-1, keepdim=True).clamp_min(1e-12) if self.normalise else share

    def _near(self, view: TokenView, keep: Tensor) -> Tensor:
        """[B, n, N] similarity of the centres' keys to all keys; cosine: up to a factor per centre, which changes no
        order."""
        assert self.layer is not None
        keys = view.keys[self.layer].float().transpose(1, 2).flatten(2)  # [B, N, C]
        near = rows(keys, keep) @ keys.transpose(1, 2)
        if self.similarity == "cosine":
            near = near / torch.linalg.vector_norm(keys, dim=-1).clamp_min(1e-12)[:, None]
        return near

    def flops(self, host: Host, seen: Seen) -> Flops:
        assert self.layer is not None
        vision, n = host.shape.vision, seen.features(host.shape)
        made = vit_rows(vision, seen, self.layer)
        if self.official_dtype:
            keys = seen.vision[resolve_layer(self.layer, vision.layers, "ViT")]
            made += product(1, vision.width, keys) + each(SOFTMAX + 1, keys)
        if self.merge:
            centres, entries = seen.projector - bool(self.remainder), self.k + bool(self.centre)
            made += product(centres, vision.width, n) + each(
                2 * (self.similarity == "cosine"), n, vision.width
            )
            made += mixed(centres * entries + n * bool(self.remainder), vision.width)
        return made

    @staticmethod
    def _complement(keep: Tensor, valid: Tensor, real: Tensor) -> Tensor:
        """bool [B, N]: unselected tokens, less the smallest ones, one per duplicate."""
        batch, count = real.shape
        # A spill column takes what is not there.
        chosen = real.new_zeros(batch, count + 1).scatter(1, keep.masked_fill(~valid, count), True)[:, :count]
        unselected = real & ~chosen
        duplicates = valid.sum(1) - chosen.sum(1)
        return unselected & (unselected.long().cumsum(1) > duplicates[:, None])
