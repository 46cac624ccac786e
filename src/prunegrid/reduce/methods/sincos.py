"""Fixed two-dimensional sine-cosine position embeddings, and their interpolation to another grid.

Those of Qwen-VL's resampler, as in Yuliang-Liu/Monkey at 435b296.
Cost: the table is made once, on the host; to another grid of N positions 32 N `width` per pass. No sync.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sincos(width: int, side: int) -> Tensor:
    """[side^2, width] fp32, raster order: a quarter of the width each for sin and cos of the column, then of the
    row; frequencies 10000^(-i / (width / 4)). `width` is a multiple of 4."""
    if width % 4:
        raise ValueError(f"sine-cosine positions need a width that 4 divides, got {width}")
    rate = 10000 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    line = torch.arange(side, dtype=torch.float64)
    row, column = torch.meshgrid(line, line, indexing="ij")
    angles = [(axis.reshape(-1, 1) * rate) for axis in (column, row)]
    return torch.cat([f(a) for a in angles for f in (torch.sin, torch.cos)], 1).float()


def resized(table: Tensor, tokens: int) -> Tensor:
    """[side^2, width] -> [tokens, width], bicubic between the grids; unchanged where they agree."""
    side, target = round(len(table) ** 0.5), round(tokens**0.5)
    if side == target:
        return table
    grid = table.float().view(1, side, side, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(target, target), mode="bicubic", align_corners=False)
    return grid.permute(0, 2, 3, 1).flatten(0, 2).to(table.dtype)
