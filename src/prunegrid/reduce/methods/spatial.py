"""A regular grid of tokens: "Spatial" sampling of PruMerge (arXiv:2403.15388), section 4.4.1 and Table 4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prunegrid.reduce.flops import Flops, Seen
from prunegrid.reduce.places import Place, Site
from prunegrid.reduce.reducer import Host, Reducer
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class Spatial(Reducer):
    """`rows` x `columns` patches at the centres of equal cells, raster order: row floor((i + 0.5) * side / rows),
    the same for columns. The paper does not say which number counts rows, nor the offsets; both orientations stand
    in its table. No code to differ from.

    [B, N, C] -> keep [B, rows * columns].
    Cost: nothing; the indices are made on the host. No sync.
    """

    rows: int = 6
    columns: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rows < 1 or self.columns < 1:
            raise ValueError(f"Spatial: rows={self.rows}, columns={self.columns} must both be at least 1")

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        side = shape.vision.side
        if self.rows > side or self.columns > side:
            raise ValueError(
                f"Spatial: {self.rows} x {self.columns} must lie in 1 x 1 .. {side} x {side}, the patches there are"
            )
        return (Site(Place.FEATURES),)

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction:
        side = state.shape.vision.side
        keep = grid(side, self.rows, self.columns).to(view.tokens.device)
        return Reduction(keep.expand(view.tokens.shape[0], -1))

    def flops(self, host: Host, seen: Seen) -> Flops:
        return Flops()


def grid(side: int, rows: int, columns: int) -> Tensor:
    """int64 [rows * columns]: raster indices of the centres of equal cells in a side x side grid."""
    y = ((torch.arange(rows) * 2 + 1) * side) // (2 * rows)
    x = ((torch.arange(columns) * 2 + 1) * side) // (2 * columns)
    return (y[:, None] * side + x[None, :]).flatten()
