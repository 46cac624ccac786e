"""The selections that PruMerge and IVTP compare with (PruMerge Table 4, IVTP Table 1), in plain loops."""

import torch
from torch import Tensor

from .prumerge import select_topk


def sequential(patches: int, count: int) -> list[int]:
    """The first `count` patches of the raster (PruMerge Table 4)."""
    return [j for j in range(patches) if j < count]


def topk_cls(a: Tensor, count: int) -> list[int]:
    """The `count` patches of highest class attention, in raster order: TopK in one shot."""
    return sorted(select_topk(a, count))


def spatial_grid(side: int, rows: int, columns: int) -> list[int]:
    """A rows x columns sub-grid of the side x side raster, at cell centres (PruMerge Table 4)."""
    kept = []
    for i in range(rows):
        for j in range(columns):
            kept.append(int((i + 0.5) * side / rows) * side + int((j + 0.5) * side / columns))
    return kept


def spatial_pool(x: Tensor, side: int, out: int) -> Tensor:
    """Average pooling of the raster side x side to out x out (IVTP: 24 to 8). x: [side**2, C] -> [out**2, C].

    Where `out` does not divide `side`, cells overlap: cell i spans floor(i side / out) .. ceil((i + 1) side /
    out).
    """
    cells = []
    for i in range(out):
        for j in range(out):
            rows = range(i * side // out, -(-(i + 1) * side // out))
            columns = range(j * side // out, -(-(j + 1) * side // out))
            members = [x[r * side + c] for r in rows for c in columns]
            cells.append(torch.stack(members).mean(0))
    return torch.stack(cells)
