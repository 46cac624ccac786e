"""Counts of tokens that several methods share: how many survive, and their selection.

Of schedules IVTP's section 4.1 says little; the published cost of its Table 9 fits `geometric` over both stages.
Cost: whole numbers on the host; a selection sorts [B, N] scores once. No sync: whether counts differ is for the
caller to know.
"""

from __future__ import annotations

import torch
from torch import Tensor

from prunegrid.reduce.ops import first, raster
from prunegrid.reduce.view import Reduction


def geometric(start: int, target: int, prunes: int) -> list[int]:
    """Tokens after each of `prunes` prunes that all keep the same share: 576 -> 64 in 12 passes 133 after 8."""
    share = (target / start) ** (1 / prunes)
    return [*(_nearest(start * share**i) for i in range(1, prunes)), target]


def linear(start: int, target: int, prunes: int) -> list[int]:
    """Tokens after each of `prunes` prunes that all drop the same number, up to rounding."""
    return [_nearest(start - (start - target) * i / prunes) for i in range(1, prunes + 1)]


def _nearest(x: float) -> int:
    return max(1, int(x + 0.5))


def share_of(valid: Tensor, keep: float, whole: bool = False) -> Tensor:
    """int [B]: the share `keep` of each sample's valid tokens [B, N], rounded (halves to even, as Python does)
    or, with `whole`, truncated; at least 1 where there is any."""
    exact = valid.sum(-1).double() * keep
    counts = (exact.floor() if whole else exact.round()).long()
    return torch.minimum(counts.clamp_min(1), valid.sum(-1))


def fixed(score: Tensor, n: int) -> Reduction:
    """The n highest scores [B, N] of each sample where all tokens are real, as `highest` without a synchronisation."""
    order = score.argsort(dim=1, descending=True, stable=True)[:, :n]
    return Reduction(order.sort(1).values)


def highest(score: Tensor, valid: Tensor, counts: Tensor, most: int) -> Reduction:
    """Keep the counts[b] highest scores [B, N] of each sample's valid tokens, in raster order; ties go to the
    earlier token. `most`: no count is larger; known without asking the device."""
    most = min(most, score.shape[1])
    order = score.masked_fill(~valid, -torch.inf).argsort(dim=1, descending=True, stable=True)[:, :most]
    keep, real = raster(order, first(counts, most) & valid.gather(1, order))
    return Reduction(keep, valid=real)
