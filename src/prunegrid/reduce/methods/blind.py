"""No visual token at all: what the language model knows without looking. The image line of the prompt stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prunegrid.reduce.flops import Flops, Seen
from prunegrid.reduce.places import Place, Site
from prunegrid.reduce.reducer import Host, Reducer
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class Blind(Reducer):
    """The one reducer that keeps 0 tokens: the floor of every retention, this project's own.

    [B, N, C] patch embeddings -> [B, 0, C] before ViT layer 0.
    Cost: nothing; the ViT runs on its CLS alone. No sync.
    """

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        return (Site(Place.IMAGE),)

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction:
        return Reduction(view.index[:, :0].contiguous())

    def flops(self, host: Host, seen: Seen) -> Flops:
        return Flops()
