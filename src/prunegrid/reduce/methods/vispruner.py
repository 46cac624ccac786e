"""VisPruner: half of the tokens by CLS attention, the other half by dropping near-duplicates of what is left.

arXiv:2412.01818; official code Theia-4869/VisPruner at aefa01a. FasterVLM is `topk_cls`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from prunegrid.reduce.flops import Flops, Seen, product, unit, vit_rows
from prunegrid.reduce.methods.matching import others
from prunegrid.reduce.ops import gather, raster, top
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.reducer import Host, Reducer, budget, check_budget
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class VisPruner(Reducer):
    """`keep` tokens in raster order: int(keep x important) by the mean CLS attention of ViT layer `layer`. The others
    stand by falling attention; until as many are left as are wanted, even places are compared with odd ones, and the
    min(step, surplus) even tokens with the highest cosine to any odd one go. Features: what the projector reads.

    Differs from the official code: similarities are computed once and looked up in each of the up to (N - keep) / step
    rounds; the projector sees only the survivors.
    [B, H, 1, N] row, [B, N, C] -> keep [B, n].
    Cost: one CLS row (2 N C) and 2 R^2 C for the similarities of the R patches that attention leaves, [B, R, R] in
    fp32; a round looks up a quarter of what is left of them. No sync.
    """

    keep: int | float = 64
    important: float = 0.5
    step: int = 8
    layer: int = -2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_budget(self.keep, "VisPruner")
        if not 0 <= self.important <= 1:
            raise ValueError(f"VisPruner: important={self.important} must lie in [0, 1]")
        if self.step < 1:
            raise ValueError(f"VisPruner: step={self.step} must be at least 1")

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        budget(self.keep, shape.visual_tokens, "VisPruner")
        return (Site(Place.FEATURES, probe=Probe((self.layer,))),)

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction:
        n = budget(self.keep, view.tokens.shape[1], "VisPruner")
        score = view.attention(self.layer).mean((1, 2))
        ranked = top(score, score.shape[1], view.valid)
        best, rest = ranked[:, : int(n * self.important)], ranked[:, int(n * self.important) :]
        unit = F.normalize(gather(view.tokens, rest).float(), dim=-1)
        near = unit @ unit.transpose(1, 2)
        left = torch.arange(rest.shape[1], device=rest.device).expand(rest.shape)  # places in rest
        rows = torch.arange(len(rest), device=rest.device)[:, None, None]
        while left.shape[1] > n - best.shape[1]:
            even, odd = left[:, ::2], left[:, 1::2]
            drop = min(self.step, left.shape[1] - (n - best.shape[1]), even.shape[1])
            if odd.shape[1]:
                redundancy = near[rows, even[:, :, None], odd[:, None, :]].amax(2)
                drop_from_even = redundancy.topk(drop, dim=1).indices
            else:
                drop_from_even = even.new_zeros(len(even), 1)
            left = left.gather(1, others(2 * drop_from_even, left.shape[1]))
        return Reduction(raster(torch.cat([best, rest.gather(1, left)], 1))[0])

    def flops(self, host: Host, seen: Seen) -> Flops:
        vision, n = host.shape.vision, seen.features(host.shape)
        rest = n - int(budget(self.keep, n, "VisPruner") * self.important)
        similar = unit(rest, vision.width) + product(rest, vision.width, rest)
        return vit_rows(vision, seen, self.layer) + similar
