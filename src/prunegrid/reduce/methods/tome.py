"""ToMe: merge the most similar tokens in every ViT block by bipartite matching.

arXiv:2210.09461; official code facebookresearch/ToMe at af95e4b; Haurum's benchmark at 88fe07e. Between attention
and MLP: metric = keys, mean over heads, unit length. A = even positions (CLS at 0 among them, never merged away), B =
odd ones; each A proposes its most similar B, the r best proposals merge as size-weighted means; output = what is left
of A, then B. log(size) is added to later attention logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from prunegrid.reduce.flops import Flops, Seen
from prunegrid.reduce.methods.matching import head_mean, join, merged, within
from prunegrid.reduce.methods.vit_schedule import capped, executed, geometric, linear, staged
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.reducer import Host, Reducer, budget, check_budget
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class ToMe(Reducer):
    """`keep` tokens at the ViT's output. official: the whole reduction over all layers that run before the features
    are read (L0 to L22), the same number each; where a layer would have to merge more than half, earlier ones take
    it over. haurum: the same matching at `stages` blocks, the same share each.

    Differs from the official code: the schedule ends at the layer that LLaVA reads, and no CLS goes on.
    Keys [B, H, N, Dh] -> keep [B, N - r].
    Cost: per layer N^2 Dh / 2 for the similarities, [B, N/2, N/2], and 2 N C to mix; no attention is read. No sync.
    """

    keep: int | float = 64
    variant: Literal["official", "haurum"] = "official"
    stages: int = 3
    layers: Sequence[int] | None = None
    proportional: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_budget(self.keep, "ToMe")

    def counts(self, shape: ModelShape) -> dict[int, int]:
        """Tokens left after each layer that merges."""
        patches = shape.vision.patches
        keep = budget(self.keep, patches, "ToMe")
        if self.variant == "haurum":
            layers = staged(shape, self.stages, self.layers, "ToMe")
            schedule = geometric(patches, keep, len(layers))
        else:
            layers = list(executed(shape))
            schedule = linear(patches, keep, len(layers))
        return dict(zip(layers, capped(schedule, patches, "ToMe"), strict=True))

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        return [
            Site(
                Place.VISION,
                i,
                Probe((i,), queries=None, keys=True),
                mid=True,
                proportional=self.proportional,
            )
            for i in self.counts(shape)
        ]

    def reduce(self, site: Site, view: TokenView, state: Host) -> Reduction | None:
        assert site.layer is not None
        r = view.tokens.shape[1] - self.counts(state.shape)[site.layer]
        return None if r <= 0 else bipartite(view, view.keys[site.layer], r)

    def flops(self, host: Host, seen: Seen) -> Flops:
        vision, made = host.shape.vision, Flops()
        for i in self.counts(host.shape):
            if seen.mlp[i] < seen.vision[i]:
                n = seen.vision[i] - vision.prefix
                made += merged(n, vision.width, vision.heads, (n // 2) * (n - n // 2))
        return made


def bipartite(view: TokenView, keys: Tensor, r: int) -> Reduction:
    """Merge r tokens of `view` by ToMe's matching of `keys` [B, H, N, Dh]. No sync; all samples hold N tokens."""
    batch, count = view.size.shape
    start = view.prefix.shape[1] % 2  # position 0 is CLS: with it, A are the odd patches
    sources, targets = _every_second(count, start, view), _every_second(count, 1 - start, view)
    unit = head_mean(keys)
    best = (unit[:, sources] @ unit[:, targets].transpose(1, 2)).max(-1)
    order = best.values.argsort(dim=1, descending=True, stable=True)
    stay = order[:, r:].sort(1).values  # of A, in order
    keep = torch.cat([sources[stay], targets.expand(batch, -1)], 1)
    left = stay.shape[1]
    place = keep.new_zeros(batch, len(sources))
    place.scatter_(1, stay, torch.arange(left, device=keep.device).expand(batch, -1))
    place.scatter_(1, order[:, :r], best.indices.gather(1, order[:, :r]) + left)
    group = keep.new_empty(batch, count)
    group[:, sources] = place
    group[:, targets] = torch.arange(left, left + len(targets), device=keep.device)
    share = view.size / within(group, keep.shape[1], view.size)
    return join(keep, group, share)


def _every_second(count: int, start: int, view: TokenView) -> Tensor:
    return torch.arange(start, count, 2, device=view.tokens.device)
