"""Top-k patches by CLS attention: the simple baseline that IVTP and VTIP compare with (one-shot: FasterVLM)."""

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
class TopKCls(ScoreReducer):
    """The `keep` patches that the CLS of ViT layer `layer` attends to most: softmax per head, then the mean.
    -2 is the layer that produced the features which LLaVA reads (METHODS: reading P2)."""

    layer: int = -2

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        return (Site(Place.FEATURES, probe=Probe((self.layer,))),)

    def score(self, view: TokenView) -> Tensor:
        return view.attention(self.layer).mean(1).squeeze(1)

    def flops(self, host: Host, seen: Seen) -> Flops:
        return vit_rows(host.shape.vision, seen, self.layer)
