"""PyramidDrop (arXiv:2410.17247), one sample at a time, in plain loops: image tokens halve at several depths.

Letters: H heads, G key-value heads, T tokens alive, D width, Dh head width.
"""

import torch
from torch import Tensor


def counts(n: int, ratios: tuple[float, ...] = (0.5, 0.25, 0.125)) -> list[int]:
    """Image tokens left after each stage, of the ORIGINAL n: 576 -> 288, 144, 72."""
    return [int(n * ratio) for ratio in ratios]


def layer_counts(layers: int, at: tuple[int, ...], n: int, after: list[int]) -> list[int]:
    """Image tokens that enter each 0-based layer; the stage `at[i]` acts before the layer of that number."""
    found, now = [], n
    for layer in range(layers):
        if layer in at:
            now = after[at.index(layer)]
        found.append(now)
    return found


def rotate(x: Tensor, position: int, theta: float = 10000.0) -> Tensor:
    """RoPE of one head's vector x [Dh], halves rotated against each other (Llama's convention)."""
    half = x.shape[0] // 2
    out = x.clone()
    for i in range(half):
        angle = torch.tensor(position * theta ** (-2 * i / x.shape[0]), dtype=torch.float64)
        c, s = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        out[i] = x[i] * c - x[i + half] * s
        out[i + half] = x[i + half] * c + x[i] * s
    return out


def queries_and_keys(
    hidden: Tensor,
    positions: list[int],
    norm: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    heads: int,
    kv_heads: int,
    theta: float = 10000.0,
    eps: float = 1e-6,
) -> tuple[Tensor, Tensor]:
    """RMS norm, projections and RoPE of the NEXT layer for hidden [T, D]; w_q [H Dh, D], w_k [G Dh, D].

    Returns q [H, T, Dh] and k [G, T, Dh].
    """
    width = w_q.shape[0] // heads
    q = hidden.new_zeros(heads, len(hidden), width)
    k = hidden.new_zeros(kv_heads, len(hidden), width)
    for t, x in enumerate(hidden):
        x = norm * x / (x.square().mean() + eps).sqrt()
        for h in range(heads):
            q[h, t] = rotate(w_q[h * width : (h + 1) * width] @ x, positions[t], theta)
        for g in range(kv_heads):
            k[g, t] = rotate(w_k[g * width : (g + 1) * width] @ x, positions[t], theta)
    return q, k


def scores(q: Tensor, k: Tensor, visual: list[int], queries: list[int] | None = None) -> list[float]:
    """One score per visual token: softmax (over all keys that the query sees) per head, mean over heads.

    q [H, T, Dh], k [G, T, Dh]; `queries`: the last prompt token if None; in training the tokens right before
    each answer, averaged.
    """
    heads, length, width = q.shape
    rows = queries if queries is not None else [length - 1]
    found = [0.0] * len(visual)
    for t in rows:
        for h in range(heads):
            keys = k[h * k.shape[0] // heads]
            logits = [float((q[h, t] * keys[j]).sum()) * width**-0.5 for j in range(t + 1)]
            top = max(logits)
            e = [torch.tensor(v - top, dtype=torch.float64).exp().item() for v in logits]
            for i, j in enumerate(visual):
                if j <= t:
                    found[i] += e[j] / sum(e) / heads / len(rows)
    return found


def stage(values: list[float], visual: list[int], length: int, n: int) -> tuple[list[int], list[int]]:
    """Columns that stay (text and the n best visual tokens, ascending; ties to the first) and their new
    position ids 0..T'-1."""
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))[:n]
    chosen = {visual[i] for i in order}
    stay = [t for t in range(length) if t not in visual or t in chosen]
    return stay, list(range(len(stay)))
