"""The first tokens of the raster: "Sequential" sampling of PruMerge (arXiv:2403.15388), section 4.4.1 and Table 4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from prunegrid.reduce.flops import Flops, Seen
from prunegrid.reduce.places import Place, Site
from prunegrid.reduce.reducer import Host, ScoreReducer
from prunegrid.reduce.view import TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class Sequential(ScoreReducer):
    """The first `keep` patches in raster order: the top of the picture. The paper says no more; no code to differ from.

    [B, N, C] -> keep [B, n].
    Cost: nothing but a sort of N places. No sync.
    """

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        return (Site(Place.FEATURES),)

    def score(self, view: TokenView) -> Tensor:
        return -view.index.float()

    def flops(self, host: Host, seen: Seen) -> Flops:
        return Flops()
