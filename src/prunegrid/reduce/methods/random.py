"""Random tokens, uniform without replacement: the floor that any score must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prunegrid.reduce.places import Place, Site
from prunegrid.reduce.reducer import Host, ScoreReducer, budget
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class Random(ScoreReducer):
    """`keep` tokens of the ViT's output in raster order. The draw depends on the cell's seed and the sample's id
    alone, so neither the batch nor the order of samples shows in it (IVTP, Table 1, "Random sampling")."""

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        return (Site(Place.FEATURES),)

    def reduce(self, site: Site, view: TokenView, state: Host) -> Reduction:
        n = budget(self.keep, view.tokens.shape[1], "Random")
        valid = torch.ones(view.valid.shape, dtype=torch.bool) if view.full else view.valid.cpu()
        drawn = [_draw(real, n, g) for real, g in zip(valid, view.generators(state.seed), strict=True)]
        return Reduction(torch.stack(drawn).to(view.tokens.device))

    def score(self, view: TokenView) -> Any:  # pragma: no cover - reduce() draws
        raise NotImplementedError


def _draw(valid: Tensor, n: int, generator: torch.Generator) -> Tensor:
    order = torch.rand(len(valid), generator=generator).masked_fill(~valid, -1.0).argsort(descending=True)
    return order[:n].sort().values
