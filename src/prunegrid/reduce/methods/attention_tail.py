"""Top-k by CLS attention that writes down how the attention falls off: the long tail of PruMerge's Figure 3
(arXiv:2403.15388) and of VTIP's Figures 1 and 3."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from prunegrid.reduce.methods.topk_cls import TopKCls
from prunegrid.reduce.places import Site
from prunegrid.reduce.view import Reduction, TokenView


@dataclass(frozen=True)
class AttentionTail(TopKCls):
    """Keeps what `topk_cls` keeps. Per sample it notes `attention rank r`: the r-th largest attention of the CLS of ViT
    layer `layer` to a patch (softmax over CLS and patches per head, mean over heads), for r = 1, 2, 4, ... and the last.

    The notes are of all patches, before any is dropped: they do not depend on `keep`. The figures come with no code and
    do not say how heads are taken together: as in `topk_cls`.
    [B, H, 1, N] -> [B, N] -> keep [B, n], notes [B].
    Cost: that of `topk_cls` (2 N C) and a sort of N numbers. No sync.
    """

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction | None:
        made = super().reduce(site, view, state)
        assert made is not None
        fallen = self.score(view).float().masked_fill(~view.valid, 0).sort(1, descending=True).values
        return replace(made, note={f"attention rank {r}": fallen[:, r - 1] for r in ranks(fallen.shape[1])})


def ranks(count: int) -> tuple[int, ...]:
    """1, 2, 4, ... and `count` itself: evenly spread on an axis of octaves."""
    return (*(2**k for k in range((count - 1).bit_length())), count)
