"""ToMe (arXiv:2210.09461), one image and one layer at a time, in plain loops; no code of the package.

Position 0 is the class token. `groups` name old positions, so that a test can compare merges, not only sums.
Any float dtype.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Merge(NamedTuple):
    """What one merge answers. T' = T - r."""

    tokens: Tensor  # [T', C]
    size: Tensor  # [T']
    groups: list[list[int]]  # per output token the old positions it stands for; destinations first


def head_mean_metric(keys: Tensor) -> list[Tensor]:
    """keys [H, T, Dh], as they leave k_proj -> T unit vectors: mean over heads, then length 1."""
    heads, tokens, _ = keys.shape
    units = []
    for t in range(tokens):
        mean = sum((keys[h, t] for h in range(heads)), torch.zeros_like(keys[0, 0])) / heads
        units.append(mean / mean.square().sum().sqrt())
    return units


def tome_merge(x: Tensor, keys: Tensor, size: Tensor, r: int, class_token: bool = True) -> Merge:
    """x [T, C], keys [H, T, Dh], size [T] -> the r most similar even positions merged into odd ones.

    A = even positions, B = odd ones; the class token (0, in A) is never a source. Each token of A proposes its
    most similar B; the r best proposals are carried out, r <= floor((T - 1) / 2). Output: what is left of A in
    order, then all of B. Without a `class_token` every even position may be a source.
    """
    tokens = x.shape[0]
    r = min(r, (tokens - class_token) // 2)
    if r <= 0:
        return Merge(x.clone(), size.clone(), [[t] for t in range(tokens)])
    unit = head_mean_metric(keys)
    even, odd = list(range(0, tokens, 2)), list(range(1, tokens, 2))
    partner, best = {}, {}
    for a in even:
        if a == 0 and class_token:
            continue
        similarity = [float((unit[a] * unit[b]).sum()) for b in odd]
        highest = max(range(len(odd)), key=lambda j: similarity[j])
        partner[a], best[a] = odd[highest], similarity[highest]
    sources = sorted(partner, key=lambda a: -best[a])[:r]
    groups = [[a] for a in even if a not in sources]
    groups += [[b, *sorted(a for a in sources if partner[a] == b)] for b in odd]
    made, sizes = [], []
    for group in groups:
        total = sum(size[t] for t in group)
        made.append(sum((x[t] * size[t] for t in group), torch.zeros_like(x[0])) / total)
        sizes.append(total)
    return Merge(torch.stack(made), torch.stack([torch.as_tensor(s) for s in sizes]), groups)


def tome_schedule(r: int | tuple[int, float] | list[int], layers: int) -> list[int]:
    """Merges per layer: the same everywhere, a ramp from r (1 - inflect) to r (1 + inflect), or a list."""
    if isinstance(r, list):
        return r + [0] * (layers - len(r))
    middle, inflect = (r, 0.0) if isinstance(r, int) else r
    low = int(middle * (1 - inflect))
    high = 2 * middle - low
    return [int(low + (high - low) * i / (layers - 1)) for i in range(layers)]


def haurum_schedule(keep: float, patches: int, blocks: int) -> list[int]:
    """Merges at each of `blocks` blocks in Haurum's benchmark: differences of int(keep**stage * patches), at most
    half of the patches that are left."""
    left, merges = patches, []
    for stage in range(1, blocks + 1):
        r = min(left - int(keep**stage * patches), left // 2)
        merges.append(r)
        left -= r
    return merges


def proportional_attention(q: Tensor, k: Tensor, v: Tensor, size: Tensor) -> Tensor:
    """q, k, v [H, T, Dh], size [T] -> [H, T, Dh]: log(size_j) added to every logit of key j."""
    heads, tokens, width = q.shape
    out = torch.zeros_like(v)
    for h in range(heads):
        for i in range(tokens):
            powers = [
                float(size[j]) * torch.exp((q[h, i] * k[h, j]).sum() * width**-0.5) for j in range(tokens)
            ]
            for j in range(tokens):
                out[h, i] += powers[j] / sum(powers) * v[h, j]
    return out


def tome(x: Tensor, keys: list[Tensor], merges: list[int]) -> Merge:
    """Merge layer by layer with the features left alone: keys[l] [H, T, Dh] are given for the ORIGINAL tokens and
    follow their groups (size-weighted mean), as a linear projection would. For tests of the bookkeeping."""
    size = x.new_ones(x.shape[0])
    groups = [[t] for t in range(x.shape[0])]
    for of, r in zip(keys, merges, strict=True):
        now = torch.stack([of[:, g].mean(1) for g in groups], 1)
        step = tome_merge(x, now, size, r)
        x, size = step.tokens, step.size
        groups = [[t for old in group for t in groups[old]] for group in step.groups]
    return Merge(x, size, groups)
