"""CrossGET (arXiv:2305.17455), LLaVA's vision tower: complete-graph soft matching in plain loops; no package code.

Matching: one image, one layer. Position 0 is the class token, the last position the cross token; neither ever merges.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Merge(NamedTuple):
    """What one merge answers. T' = T - r; original order."""

    tokens: Tensor  # [T', C]
    size: Tensor  # [T']
    groups: list[list[int]]  # per output token the old positions it stands for, the destination first
    weights: Tensor  # [T', T]; tokens == weights @ x


def importance(attention: Tensor) -> list[float]:
    """attention [H, T, T] -> per key: mean over all queries but the cross token, plus the cross token's own row;
    mean over heads."""
    heads, tokens, _ = attention.shape
    found = []
    for j in range(tokens):
        column = [sum(float(attention[h, i, j]) for h in range(heads)) / heads for i in range(tokens)]
        found.append(sum(column[:-1]) / (tokens - 1) + column[-1])
    return found


def match(keys: Tensor, weight: list[float], r: int) -> list[tuple[int, int]]:
    """keys [H, T, Dh], weight: importance -> r pairs (source, destination).

    Cosine of head-mean keys. Tokens are ranked by their highest similarity; a token may only look at those ranked
    before it (the triangular mask: no cycles). Sources: the r smallest importance - highest similarity so seen.
    Destination: the most similar token that is no source.
    """
    tokens = keys.shape[1]
    free = range(1, tokens - 1)
    mean = keys.mean(0)
    unit = [m / m.square().sum().sqrt() for m in mean]
    similarity = {(i, j): float((unit[i] * unit[j]).sum()) for i in free for j in free if i != j}
    ranked = sorted(free, key=lambda i: -max(similarity[i, j] for j in free if j != i))
    cost = {}
    for place, i in enumerate(ranked):
        seen = [similarity[i, j] for j in ranked[:place]]
        cost[i] = weight[i] - max(seen) if seen else float("inf")
    sources = sorted(free, key=lambda i: cost[i])[:r]
    others = [j for j in free if j not in sources]
    return [(i, max(others, key=lambda j: similarity[i, j])) for i in sources]


def crossget_merge(x: Tensor, keys: Tensor, attention: Tensor, size: Tensor, r: int = 13) -> Merge:
    """x [T, C], keys [H, T, Dh], attention [H, T, T], size [T] -> r tokens merged away, order kept.

    A pair (s, d) adds 2 softmax(importance of s, d)_s x_s size_s to the destination and gives its own features
    the weight 2 softmax(...)_d; several sources each change the destination's weight in turn (the changes add
    up). The sum is divided by the plain sum of sizes. r <= (T - 3) // 2.
    """
    tokens = x.shape[0]
    r = min(r, (tokens - 3) // 2)
    weight = importance(attention)
    pairs = match(keys, weight, r)
    rows = torch.eye(tokens, dtype=x.dtype) * size
    for s, d in pairs:
        share = torch.tensor([weight[s], weight[d]], dtype=torch.float64).softmax(0) * 2
        rows[d, s] += float(share[0]) * size[s]
        rows[d, d] += (float(share[1]) - 1) * size[d]
    gone = [s for s, _ in pairs]
    groups = [[t, *sorted(s for s, d in pairs if d == t)] for t in range(tokens) if t not in gone]
    sizes = torch.stack([sum((size[t] for t in group), size.new_zeros(())) for group in groups])
    mixed = torch.stack([rows[group[0]] for group in groups]) / sizes[:, None]
    made = x.new_zeros(len(groups), x.shape[1])
    for i in range(len(groups)):
        for j in groups[i]:
            made[i] += mixed[i, j] * x[j]
    return Merge(made, sizes, groups, mixed)


def agreement(image: Tensor, text: Tensor) -> float:
    """image [V, B, D]: the cross tokens that enter the V vision layers, projected; text [L, B, D]: those that enter the L
    LLM layers -> the loss that draws them together.

    Vision layer i stands beside int((i + 1) L / V) - int(i L / V) LLM layers, in order. Each pair adds the mean of
    KL(M || P) and KL(M || Q), P and Q the softmaxes and M their average; mean over LLM layers and samples.
    """
    vision, layers, samples = len(image), len(text), text.shape[1]
    beside: list[int] = []
    for i in range(vision):
        beside += [i] * (int((i + 1) * layers / vision) - int(i * layers / vision))
    total = 0.0
    for t in range(layers):
        for b in range(samples):
            p, q = (x.double().softmax(0).tolist() for x in (image[beside[t], b], text[t, b]))
            for mine, its in zip(p, q, strict=True):
                m = (mine + its) / 2
                total += (m * math.log(m / mine) + m * math.log(m / its)) / 2
    return total / (layers * samples)
