"""IVTP in the vision tower: group-wise pruning by attention rollout (IVTP-V; no official code)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from prunegrid.reduce.methods.rollout import class_rollout, value_norms
from prunegrid.reduce.methods.schedule import geometric, linear
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.reducer import Host, Reducer, budget, check_budget
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class IVTP(Reducer):
    """Groups of `group` ViT layers ("all": one group); after the top layer of each the patches with the lowest
    S_i = R_cls,i ||V_i|| go, nothing is fused, the CLS and the raster order stay. R is the rollout over the group,
    R^l = (A^l + I) R^(l-1) from R^l1 = A^l1, A the mean over heads of the softmax over ALL tokens; V are the
    values of the top layer, heads concatenated.

    `attention`: rollout; single = the CLS row of the group's top layer (the paper's "group-wise"); layerwise = the
    same after every layer. `aggregation` of the group's layers (rollout only): residual = the above; mean, max,
    multiply = of their CLS rows, element by element. `values: false` leaves ||V|| out.
    `schedule`: ratio = every prune keeps the same share, (keep / N)^(1 / prunes); number = every prune drops the
    same number. The published FLOPs fit ratio alone.

    LLaVA reads the layer before the last. `peek`: the last group still ends at the last layer, whose queries, keys
    and values over those features score them (24 layers, 8 groups of 3); without it the groups cover the layers
    that LLaVA reads. A group that does not fill up at the top is shorter.

    This is stage 1 alone: with keep = 64 of 576 the paper's IVTP-V (a share of 0.760 per prune). The full method
    enters the language model with 133 tokens, 8 of its 12 prunes done, and goes on there with a textual
    pseudo-CLS. [B, H, 1, K] rows -> [B, N]; all samples keep the same number.
    Cost: one CLS row per group and, for the other layers of a group, their attention once more, block by block
    (2 N^2 D FLOPs) - the paper's products of N x N matrices are never formed.
    """

    keep: int | float = 64
    group: int | Literal["all"] = 3
    attention: Literal["rollout", "single", "layerwise"] = "rollout"
    aggregation: Literal["residual", "mean", "max", "multiply"] = "residual"
    values: bool = True
    schedule: Literal["ratio", "number"] = "ratio"
    peek: bool = True

    def __post_init__(self) -> None:
        check_budget(self.keep, "IVTP")
        if self.group != "all" and (not isinstance(self.group, int) or self.group < 1):
            raise ValueError(f"IVTP: group={self.group!r} must be a number of layers, at least 1, or 'all'")
        for name, value, known in (
            ("attention", self.attention, ("rollout", "single", "layerwise")),
            ("aggregation", self.aggregation, ("residual", "mean", "max", "multiply")),
            ("schedule", self.schedule, ("ratio", "number")),
        ):
            if value not in known:
                raise ValueError(f"IVTP: {name}={value!r} must be one of {', '.join(map(repr, known))}")
        if self.aggregation != "residual" and self.attention != "rollout":
            raise ValueError(
                f"IVTP: aggregation={self.aggregation!r} needs several layers: attention='rollout'"
            )

    def groups(self, shape: ModelShape) -> list[tuple[int, ...]]:
        """The ViT layers of each group, from the bottom up."""
        read = shape.vision.selected  # layers that run before LLaVA reads
        layers = min(shape.vision.layers, read + 1) if self.peek else read
        size = 1 if self.attention == "layerwise" else layers if self.group == "all" else self.group
        if size > layers:
            raise ValueError(f"IVTP: group={size} is more than the {layers} ViT layers there are")
        edges = [*range(0, layers, size), layers]
        return [tuple(range(a, b)) for a, b in pairwise(edges)]

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        if shape.vision.prefix == 0:
            raise ValueError("IVTP: this vision tower has no class token, whose attention it follows")
        sites = []
        for layers in self.groups(shape):
            read = self._read(layers)
            probe = Probe(read, values=self.values)
            inside = layers[-1] < shape.vision.selected
            sites.append(
                Site(Place.VISION, layers[-1], probe) if inside else Site(Place.FEATURES, probe=probe)
            )
        return tuple(sites)

    def _read(self, layers: tuple[int, ...]) -> tuple[int, ...]:
        return layers if self.attention == "rollout" else layers[-1:]

    def counts(self, shape: ModelShape) -> list[int]:
        """Patches left after each group."""
        patches = shape.vision.patches
        target, prunes = budget(self.keep, patches, "IVTP"), len(self.groups(shape))
        spread = geometric if self.schedule == "ratio" else linear
        return spread(patches, target, prunes)

    def start(self, host: Host) -> Mapping[Site, int]:
        return dict(zip(self.sites(host.shape), self.counts(host.shape), strict=True))

    def score(self, view: TokenView, layers: Sequence[int]) -> Tensor:
        """[B, N] fp32; S up to a factor."""
        if self.aggregation == "residual":
            row = class_rollout(view, layers)
        else:
            rows = torch.stack([view.attention(layer).mean(1).squeeze(1) for layer in layers])
            row = rows.mean(0)
            if self.aggregation == "max":
                row = rows.amax(0)
            elif self.aggregation == "multiply":
                row = rows.prod(0)
        return row * value_norms(view, layers[-1]) if self.values else row

    def reduce(self, site: Site, view: TokenView, state: Mapping[Site, int]) -> Reduction:
        assert site.probe is not None
        score = self.score(view, site.probe.layers).masked_fill(~view.valid, -torch.inf)
        order = score.argsort(dim=1, descending=True, stable=True)
        return Reduction(order[:, : state[site]].sort(1).values)
