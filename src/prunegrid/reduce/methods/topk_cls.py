"""Top-k patches by CLS attention: the simple baseline that IVTP and VTIP compare with.

One-shot it is FasterVLM: arXiv:2412.01818; official code Theia-4869/FasterVLM at f5d5f12. IVTP's own is `progressive`.
"""

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
    -2 is the layer that produced the features which LLaVA reads. Raster order.

    Differs from the official code: that one materialises the attention of all layers, and projects all patches before it
    drops any; here one row, and the projector sees the survivors.
    [B, H, 1, N] -> [B, N] -> keep [B, n].
    Cost: one CLS row, 2 N C; for a layer behind the features also its keys, 2 N C^2. No sync.
    """

    layer: int = -2

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        return (Site(Place.FEATURES, probe=Probe((self.layer,))),)

    def score(self, view: TokenView) -> Tensor:
        return view.attention(self.layer).mean(1).squeeze(1)

    def flops(self, host: Host, seen: Seen) -> Flops:
        return vit_rows(host.shape.vision, seen, self.layer)
