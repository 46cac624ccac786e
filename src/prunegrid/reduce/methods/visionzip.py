"""VisionZip: dominant tokens by CLS attention, and contextual tokens that sum up the others.

arXiv:2412.04467; official code dvlab-research/VisionZip at 3151f6d.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from prunegrid.reduce.flops import Flops, Seen, each, product, unit, vit_rows
from prunegrid.reduce.methods.matching import head_mean, mix, others
from prunegrid.reduce.ops import gather, raster, top
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.reducer import Host, Reducer, budget, check_budget
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class VisionZip(Reducer):
    """`keep` tokens: CLS itself, the keep - contextual - 1 patches it attends to most, in raster order, then
    `contextual` tokens. Of the R other patches every (R // contextual)-th is a target; each remaining one joins the
    target with the most similar head-mean key, and the token is x_target + mean(x of those that joined): a SUM, as
    released. 64 = 54 + 10, 128 = 108 + 20, 192 = 162 + 30.

    Differs from the official code: one attention row instead of the matrices of all layers; batches.
    [B, H, 1, N] row, [B, H, N, Dh] keys -> [B, n, C], CLS first, contextual tokens last.
    Cost: one CLS row (2 N C), 2 R Dh per contextual token for the similarities, [B, R, contextual], and 2 n (P + N) C
    to mix, as one dense product. No sync.
    """

    keep: int | float = 64
    contextual: int | float = 10
    layer: int = -2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_budget(self.keep, "VisionZip")
        if self.contextual < 0 or (isinstance(self.contextual, float) and self.contextual >= 1):
            raise ValueError(
                f"VisionZip: contextual={self.contextual} must be 0, a number of tokens or a share below 1"
            )
        if type(self.keep) is type(self.contextual):
            self._leave_some(self.keep, self.contextual)

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        if shape.vision.prefix != 1:
            raise ValueError("VisionZip: the vision tower has no CLS to rank patches and to send on")
        self._counts(shape.vision.patches)
        return (Site(Place.FEATURES, probe=Probe((self.layer,), keys=True)),)

    def _counts(self, patches: int) -> tuple[int, int]:
        """Tokens in all, and the contextual ones of them; shares are of the patches, and CLS comes on top of them."""
        with_cls = patches + isinstance(self.keep, int)
        if self.keep > with_cls:
            raise ValueError(
                f"VisionZip: keep={self.keep} is more than the {with_cls} tokens there are, with CLS"
            )
        keep = budget(self.keep, with_cls, "VisionZip")
        contextual = budget(self.contextual, patches, "VisionZip") if self.contextual else 0
        self._leave_some(keep, contextual)
        return keep, contextual

    def _leave_some(self, keep: float, contextual: float) -> None:
        if keep <= contextual:
            raise ValueError(
                f"VisionZip: keep={self.keep} must exceed contextual={self.contextual}: "
                "CLS and the dominant patches are the rest"
            )

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction:
        count = view.tokens.shape[1]
        total, contextual = self._counts(count)
        score = view.attention(self.layer).sum((1, 2))
        best = raster(top(score, total - contextual - 1, view.valid))[0]
        rest = others(best, count)
        step = max(1, rest.shape[1] // contextual) if contextual else 1
        targets = rest[:, ::step][:, :contextual]
        keep = torch.cat([best, targets], 1)
        group, share = self._join(view, keep, best.shape[1], rest, targets)
        made = mix(keep, group, share, view.prefix.shape[1])
        assert made.weights is not None
        # CLS goes first: a token of its own that mixes nothing but the prefix.
        weights = F.pad(made.weights, (0, 0, 1, 0))
        weights[:, 0, 0] = 1
        keep = F.pad(keep, (1, 0), value=-1)
        return Reduction(keep, weights=weights, group=torch.where(group < 0, group, group + 1), made=1)

    def flops(self, host: Host, seen: Seen) -> Flops:
        vision, n = host.shape.vision, seen.features(host.shape)
        keep, contextual = self._counts(n)
        made = vit_rows(vision, seen, self.layer) + product(keep, vision.prefix + n, vision.width)
        if contextual:
            rest = n - (keep - contextual - 1)
            made += each(1, n, vision.width) + unit(n, vision.head_dim)
            made += product(rest, vision.head_dim, contextual)
        return made

    def _join(
        self, view: TokenView, keep: Tensor, first: int, rest: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Destination and share of every patch, [B, N] each; contextual tokens start at place `first`."""
        batch, count = len(keep), view.tokens.shape[1]
        slots = torch.arange(keep.shape[1], device=keep.device).expand(batch, -1)
        group = torch.full((batch, count), -1, device=keep.device)
        share = torch.ones(batch, count, device=keep.device)
        if targets.shape[1]:
            unit = head_mean(view.keys[self.layer])
            near = gather(unit, rest) @ gather(unit, targets).transpose(1, 2)
            group = group.scatter(1, rest, near.argmax(2) + first)
            flags = torch.ones_like(share).scatter(1, keep, 0.0)  # those that join
            members = share.new_zeros(batch, keep.shape[1]).scatter_add(1, group.clamp_min(0), flags)
            share = torch.where(flags > 0, 1 / members.gather(1, group.clamp_min(0)).clamp_min(1), share)
        return group.scatter(1, keep, slots), share
