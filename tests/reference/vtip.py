"""VTIP: adaptive pruning in the ViT by the inflection point of sorted class similarities, in plain loops.

There is no official code. The second stage, on the KV cache, is H2O with ratios 0.5 and 0.5 (see h2o.py).

Letters: H heads, N patches, Dh head width. Index 0 of a [1 + N, .] tensor is the class token.
"""

from typing import Literal

import torch
from torch import Tensor

Reading = Literal["H1", "H2", "H3", "H4"]


def similarity(q_cls: Tensor, k: Tensor) -> list[float]:
    """q_cls [H, Dh], k [H, 1 + N, Dh] -> per patch the class token's attention, mean over heads."""
    heads, total, width = k.shape
    found = [0.0] * (total - 1)
    for h in range(heads):
        logits = torch.stack([(q_cls[h] * k[h, j]).sum() * width**-0.5 for j in range(total)])
        e = (logits - logits.max()).exp()
        for j in range(1, total):
            found[j - 1] += float(e[j] / e.sum()) / heads
    return found


def inflection(values: list[float]) -> int:
    """1-based i* = argmax over 1 <= i <= n-1 of (n - i) (d_1 - d_i) / (d_1 - d_n), d descending.

    Ties go to the smallest i; n if all values are equal (there is no bend: nothing is dropped); 1 for n = 1.
    """
    d = sorted(values, reverse=True)
    n = len(d)
    if n == 1 or d[0] == d[-1]:
        return n
    place, most = 1, -1.0
    for i in range(1, n):
        f = (n - i) * (d[0] - d[i - 1]) / (d[0] - d[-1])
        if f > most:
            place, most = i, f
    return place


def count(n: int, bend: int, alpha: float = 0.075, reading: Reading = "H1") -> int:
    """Patches kept of n by ONE application. H1 is applied after every layer from the third on; the others once.

    H1: drop round(alpha (n - i*)). H2: keep i*. H3: keep i* + alpha n. H4, the literal one: keep alpha i*.
    round is Python's (halves to even); at least one patch and at most n stay.
    """
    kept = {
        "H1": n - round(alpha * (n - bend)),
        "H2": bend,
        "H3": bend + round(alpha * n),
        "H4": round(alpha * bend),
    }[reading]
    return max(1, min(n, kept))


def keep(values: list[float], alpha: float = 0.075, reading: Reading = "H1") -> list[int]:
    """Patches kept by one application, in raster order; ties to the first."""
    n = count(len(values), inflection(values), alpha, reading)
    return sorted(sorted(range(len(values)), key=lambda j: (-values[j], j))[:n])


def progressive(layers: list[list[float]], alpha: float = 0.075) -> list[list[int]]:
    """H1 through several layers. layers[l][j]: what layer l would give patch j of the ORIGINAL raster (the model's
    own rows depend on what is left; a test may pass rows of a run that it steers). Returns the survivors after
    each layer."""
    alive = list(range(len(layers[0])))
    found = []
    for row in layers:
        alive = [alive[i] for i in keep([row[j] for j in alive], alpha, "H1")]
        found.append(alive)
    return found


def curve_counts(curve: list[float], layers: int = 20, alpha: float = 0.075) -> int:
    """Patches left when the same curve rules at every layer: the simulation behind the choice of H1."""
    return len(progressive([curve] * layers, alpha)[-1])


def importance(x: Tensor) -> list[float]:
    """x [T, D], what enters the language model -> per token the sum over all later ones of how similar they find it: each
    token shares out 1, by softmax(x_i . x_j / sqrt(D)), over the tokens before it."""
    total, width = x.shape
    found = [0.0] * total
    for i in range(1, total):
        logits = torch.stack([(x[i] * x[j]).sum() * width**-0.5 for j in range(i)])
        e = (logits - logits.max()).exp()
        for j in range(i):
            found[j] += float(e[j] / e.sum())
    return found


def cut(x: Tensor, heavy: int, recent: int, scope: list[int] | None = None) -> list[int]:
    """Positions [0, T) that enter the language model: all out of `scope`, of it (ascending; None = all) the last
    `recent` and the `heavy` best of the rest; ties to the earliest. Nothing goes up to heavy + recent."""
    scope = list(range(len(x))) if scope is None else scope
    if len(scope) <= heavy + recent:
        return list(range(len(x)))
    score, border = importance(x), len(scope) - recent
    best = sorted(scope[:border], key=lambda t: (-score[t], t))[:heavy]
    return [t for t in range(len(x)) if t not in scope or t in best or t in scope[border:]]
