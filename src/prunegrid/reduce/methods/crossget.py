"""CrossGET's complete-graph soft matching in the ViT, without its learned cross tokens.

arXiv:2305.17455; official code sdc17/CrossGET at dc32975, LLaVA/llava/model/reducer.py: 13 tokens per layer from 576 to
277 besides CLS and the cross token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prunegrid.reduce.flops import Flops, Seen, vit_rows
from prunegrid.reduce.methods.matching import head_mean, join, merged, others, within
from prunegrid.reduce.methods.vit_schedule import capped, executed, linear
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.reducer import Host, Reducer, budget, check_budget
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class CrossGET(Reducer):
    """`keep` patches at the ViT's output, the same number merged away in every layer, between attention and MLP.

    Similarity: cosine of head-mean keys. Tokens are ranked by their highest similarity, and each looks only at those
    ranked before it. Sources: the smallest importance - highest similarity so seen. Destination: the most similar
    token that is no source. Shares 2 softmax(importance of source, of destination) on size-weighted features, divided
    by the plain sum of sizes; the order stays; log(size) is added to later attention logits.

    Differs from the official code: there is no cross token. It starts as a copy of CLS, so CLS speaks for it:
    importance = mean over all queries + CLS's own row (mean over heads).
    Keys [B, H, N, Dh], importance [B, N] -> keep [B, N - r].
    Cost: per layer the column sums of the attention (2 N^2 C, in blocks), a CLS row (2 N C), 2 N^2 Dh for the
    similarities, [B, N, N], and 2 N C to mix. No sync.
    """

    keep: int | float = 277
    proportional: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_budget(self.keep, "CrossGET")

    def counts(self, shape: ModelShape) -> list[int]:
        """Patches left after each executed layer."""
        patches = shape.vision.patches
        schedule = linear(patches, budget(self.keep, patches, "CrossGET"), len(executed(shape)))
        return capped(schedule, patches, "CrossGET", limit=3)

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        return [
            Site(Place.VISION, i, Probe((i,), keys=True), mid=True, proportional=self.proportional)
            for i, _ in enumerate(self.counts(shape))
        ]

    def reduce(self, site: Site, view: TokenView, state: Host) -> Reduction | None:
        layer = site.layer
        assert layer is not None
        r = view.tokens.shape[1] - self.counts(state.shape)[layer]
        if r <= 0:
            return None
        queries = view.records[layer].query.shape[2]
        importance = view.received(layer).mean(1) / queries + view.attention(layer).mean((1, 2))
        return join(*soft_match(view.size, view.keys[layer], importance, r))

    def flops(self, host: Host, seen: Seen) -> Flops:
        vision, made = host.shape.vision, Flops()
        for i, _ in enumerate(self.counts(host.shape)):
            made += vit_rows(vision, seen, i)
            if seen.mlp[i] < seen.vision[i]:
                n = seen.vision[i] - vision.prefix
                made += vit_rows(vision, seen, i, queries=None) + merged(n, vision.width, vision.heads, n * n)
        return made


def soft_match(size: Tensor, keys: Tensor, importance: Tensor, r: int) -> tuple[Tensor, Tensor, Tensor]:
    """Merge r tokens by keys [B, H, N, Dh], importance and size [B, N]: who stays [B, N - r], each token's place among
    them and its share [B, N]. No sync; all samples hold N tokens."""
    batch, count = importance.shape
    unit = head_mean(keys)
    near = unit @ unit.transpose(1, 2)
    near.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    order = near.amax(2).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1)
    seen = near.masked_fill(rank[:, None, :] >= rank[:, :, None], -torch.inf).amax(2)
    sources = (importance - seen).argsort(dim=1, stable=True)[:, :r]
    keep = others(sources, count)
    rows = torch.arange(batch, device=keep.device)[:, None, None]
    target = near[rows, sources[:, :, None], keep[:, None, :]].argmax(2)  # places in keep
    pair = torch.stack([importance.gather(1, sources), importance.gather(1, keep.gather(1, target))], 2)
    share = 2 * pair.softmax(2)
    group = keep.new_empty(batch, count)
    group.scatter_(1, keep, torch.arange(count - r, device=keep.device).expand(batch, -1))
    group.scatter_(1, sources, target)
    own = torch.ones_like(importance[:, : count - r]).scatter_add(1, target, share[:, :, 1] - 1)
    amount = torch.empty_like(importance).scatter(1, keep, own).scatter(1, sources, share[:, :, 0])
    amount = amount * size / within(group, count - r, size)
    return keep, group, amount
