"""The attention that each patch receives from all others: a score for encoders without CLS (SigLIP), where CLS
attention does not exist and its stand-ins fail (FasterVLM's issue 4: worse than random)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from prunegrid.reduce.flops import Flops, Seen, vit_rows
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.reducer import Host, ScoreReducer
from prunegrid.reduce.view import TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class Received(ScoreReducer):
    """The `keep` patches with the highest column mean of ViT layer `layer`'s attention (softmax per head, mean over
    heads; where there is a CLS, it counts as one query among all). Raster order. This project's own rival: the column
    means of CrossGET and H2O as a score by themselves.

    [B, H, N] -> [B, N] -> keep [B, n].
    Cost: 2 N^2 C for the columns, in blocks; the matrix is never held. No sync.
    """

    layer: int = -2

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        return (Site(Place.FEATURES, probe=Probe((self.layer,), queries=None)),)

    def score(self, view: TokenView) -> Tensor:
        return view.received(self.layer).mean(1)

    def flops(self, host: Host, seen: Seen) -> Flops:
        return vit_rows(host.shape.vision, seen, self.layer, queries=None)
