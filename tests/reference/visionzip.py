"""VisionZip (arXiv:2412.04467), one image at a time, in plain loops; no code of the package."""

from typing import NamedTuple

import torch
from torch import Tensor


class Zipped(NamedTuple):
    """What VisionZip answers. Patches are numbered 0..N-1; the class token is -1."""

    tokens: Tensor  # [D + contextual, C]
    dominant: list[int]  # -1 first, then patches in raster order: D entries
    targets: list[int]  # contextual targets in raster order
    assigned: list[list[int]]  # per target the patches that are merged into it


def scores(attention: Tensor) -> Tensor:
    """attention [H, 1 + N]: class row of every head, softmaxed over all 1 + N keys -> [N], SUM over heads."""
    heads, columns = attention.shape
    return torch.stack([attention[:heads, j].sum() for j in range(1, columns)])


def visionzip(x: Tensor, keys: Tensor, attention: Tensor, dominant: int, contextual: int) -> Zipped:
    """x [1 + N, C] features with the class token first; keys [H, 1 + N, Dh] and attention [H, 1 + N] of the layer.

    Dominant: the class token and the `dominant` - 1 patches with the highest score. Of the R others, every
    max(1, R // contextual)-th is a target, at most `contextual` of them; each remaining patch joins the target
    with the most similar key (mean over heads, cosine). A contextual token is x_target + mean(x of those that
    joined): a sum of two, not an average.
    """
    patches = x.shape[0] - 1
    a = scores(attention).tolist()
    best = sorted(sorted(range(patches), key=lambda j: -a[j])[: dominant - 1])
    rest = [j for j in range(patches) if j not in best]
    step = max(1, len(rest) // contextual) if contextual else 1
    targets = rest[::step][:contextual]
    unit = {}
    for j in rest:
        mean = keys[:, 1 + j].mean(0)
        unit[j] = mean / mean.square().sum().sqrt()
    assigned: list[list[int]] = [[] for _ in targets]
    for j in rest:
        if j in targets or not targets:
            continue
        similarity = [float((unit[j] * unit[t]).sum()) for t in targets]
        assigned[max(range(len(targets)), key=lambda c: similarity[c])].append(j)
    made = [x[0]] + [x[1 + j] for j in best]
    for target, members in zip(targets, assigned, strict=True):
        joined = torch.zeros_like(x[0])
        for j in members:
            joined = joined + x[1 + j] / len(members)
        made.append(x[1 + target] + joined)
    return Zipped(torch.stack(made), [-1, *best], targets, assigned)
