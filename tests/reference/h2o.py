"""H2O (arXiv:2306.14048): heavy hitters and recent tokens, per layer, per head, one step at a time.

Letters: H heads, G key-value heads, L prompt tokens, T = L + decode steps, Dh head width. Positions 0..T-1.
Where G < H, which the paper does not have, the queries of a group share its cache and their scores add up.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Budget(NamedTuple):
    heavy: int
    recent: int


class Step(NamedTuple):
    """What one head's cache holds after a step, and the scores of what it holds."""

    kept: list[int]  # ascending positions
    scores: dict[int, float]


def budget(prompt: int, heavy: float, recent: float) -> Budget:
    """Fixed at the first forward pass: int(ratio * L) each."""
    return Budget(int(heavy * prompt), int(recent * prompt))


def evict(kept: list[int], scores: dict[int, float], size: Budget) -> list[int]:
    """Of the `kept` positions (ascending) the last `recent` and the `heavy` best of the rest; ties to the
    earliest. Nothing happens up to heavy + recent."""
    if len(kept) <= size.heavy + size.recent:
        return list(kept)
    border = len(kept) - size.recent
    rest, recent = kept[:border], kept[border:]
    best = sorted(rest, key=lambda t: (-scores[t], t))[: size.heavy]
    return sorted(best) + recent


def row(q: Tensor, k: Tensor, kept: list[int]) -> dict[int, float]:
    """Softmax of one query q [Dh] over the keys k [T, Dh] at the positions `kept`."""
    logits = [float((q * k[t]).sum()) * q.shape[0] ** -0.5 for t in kept]
    top = max(logits)
    e = [float(torch.tensor(v - top, dtype=torch.float64).exp()) for v in logits]
    return {t: v / sum(e) for t, v in zip(kept, e, strict=True)}


def simulate(q: Tensor, k: Tensor, prompt: int, size: Budget, shared: bool = False) -> list[list[Step]]:
    """q [H, T, Dh], k [G, T, Dh] of one layer (after RoPE). -> [1 + T - L steps][G] what is held AFTER each.

    Step 0 is prefill: attention is full and causal, the scores are its column sums, and eviction follows.
    Every later step adds its own row over what is held and itself. `shared`: all heads keep the same tokens,
    by the sum (or mean: the order is the same) of their scores.
    """
    heads, total, _ = q.shape
    groups = k.shape[0]
    of = [h * groups // heads for h in range(heads)]
    kept = [list(range(prompt)) for _ in range(groups)]
    score: list[dict[int, float]] = [dict.fromkeys(range(prompt), 0.0) for _ in range(groups)]
    for h in range(heads):
        for t in range(prompt):
            for j, a in row(q[h, t], k[of[h]], list(range(t + 1))).items():
                score[of[h]][j] += a
    steps = [_settle(kept, score, size, shared)]
    for t in range(prompt, total):
        for g in range(groups):
            kept[g].append(t)
            score[g][t] = 0.0
        for h in range(heads):
            for j, a in row(q[h, t], k[of[h]], kept[of[h]]).items():
                score[of[h]][j] += a
        steps.append(_settle(kept, score, size, shared))
    return steps


def _settle(kept: list[list[int]], score: list[dict[int, float]], size: Budget, shared: bool) -> list[Step]:
    """Evict in place and report."""
    for g in range(len(kept)):
        values = score[g]
        if shared:
            values = {t: sum(s[t] for s in score) for t in kept[g]}
        kept[g] = evict(kept[g], values, size)
    for g in range(len(kept)):
        score[g] = {t: score[g][t] for t in kept[g]}
    return [Step(list(kept[g]), dict(score[g])) for g in range(len(kept))]
