"""EViT (arXiv:2202.07800), one image and one block at a time, in plain loops; no code of the package."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Step(NamedTuple):
    """What one reorganisation answers."""

    tokens: Tensor  # [k, C] kept patches by falling score, or [k + 1, C] with the fused token last
    kept: list[int]  # [k] patch positions in output order
    weights: Tensor  # [k or k + 1, N]; tokens == weights @ x


def class_scores(attention: Tensor) -> Tensor:
    """attention [H, 1 + N]: the class token's row of every head, softmaxed -> [N] mean over the heads."""
    heads, columns = attention.shape
    return torch.stack([attention[:heads, j].sum() / heads for j in range(1, columns)])


def kept_count(keep: float, patches: int) -> int:
    """Released: ceil of the share of the patches that enter the block (a fused token counts as one of them)."""
    return math.ceil(keep * patches)


def kept_count_haurum(keep: float, stage: int, original: int) -> int:
    """Haurum's benchmark: stage 1, 2, ... keep int(keep**stage * original), of the ORIGINAL number."""
    return int(keep**stage * original)


def evit_step(x: Tensor, a: Tensor, count: int, *, fuse: bool = True) -> Step:
    """x [N, C] patches after the attention residual, a [N] class scores -> `count` patches and the fused token.

    Kept patches stand by falling score; fused = sum over the others of a_j x_j, not normalised. Nothing is fused
    when nothing is left.
    """
    patches = x.shape[0]
    kept = sorted(range(patches), key=lambda j: -float(a[j]))[:count]
    rows = []
    for j in kept:
        row = torch.zeros_like(a)
        row[j] = 1
        rows.append(row)
    others = [j for j in range(patches) if j not in kept]
    if fuse and others:
        row = torch.zeros_like(a)
        for j in others:
            row[j] = a[j]
        rows.append(row)
    weights = torch.stack(rows)
    made = x.new_zeros(len(rows), x.shape[1])
    for i in range(len(rows)):
        for j in range(patches):
            made[i] += weights[i, j] * x[j]
    return Step(made, kept, weights)
