"""FastV (arXiv:2403.06764), one sample at a time, in plain loops: prune once, at the input of LLM layer K.

Letters: H heads, G key-value heads, T prompt tokens, Dh head width. Positions are columns of the prompt, from 0.
"""

from typing import Literal

import torch
from torch import Tensor


def causal_attention(q: Tensor, k: Tensor) -> Tensor:
    """q [H, T, Dh], k [G, T, Dh] (after RoPE) -> attention [H, T, T]: query t sees keys 0..t; row by row."""
    heads, length, width = q.shape
    attention = q.new_zeros(heads, length, length)
    for h in range(heads):
        keys = k[h * k.shape[0] // heads]
        for t in range(length):
            logits = torch.stack([(q[h, t] * keys[j]).sum() * width**-0.5 for j in range(t + 1)])
            e = (logits - logits.max()).exp()
            attention[h, t, : t + 1] = e / e.sum()
    return attention


def scores(attention: Tensor, visual: list[int], source: Literal["last", "received"] = "last") -> list[float]:
    """attention [H, T, T] of layer K - 1 -> one score per visual token.

    last (the code): what the last prompt token gives it, mean over heads. received (the paper): the average
    over all T queries, zeros of the causal mask included (a constant factor either way), mean over heads.
    """
    heads, length, _ = attention.shape
    found = []
    for j in visual:
        total = 0.0
        for h in range(heads):
            if source == "last":
                total += float(attention[h, length - 1, j])
            else:
                total += sum(float(attention[h, t, j]) for t in range(length)) / length
        found.append(total / heads)
    return found


def count(n: int, kept: float, rounding: Literal["round", "int"] = "round") -> int:
    """Tokens left of n at the share `kept` = 1 - R. round: the official script; int: lmms-eval."""
    return round(n * kept) if rounding == "round" else int(n * kept)


def best(values: list[float], n: int) -> list[int]:
    """Places of the n highest values, in order of place; ties go to the first."""
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    return sorted(order[:n])


def fastv(
    attention: Tensor, visual: list[int], n: int, source: Literal["last", "received"] = "last"
) -> list[int]:
    """Columns [T'] that enter layer K, ascending: all text and the n best visual tokens. They keep their
    position ids, which are these numbers."""
    chosen = {visual[i] for i in best(scores(attention, visual, source), n)}
    return [t for t in range(attention.shape[-1]) if t not in visual or t in chosen]


def cache_lengths(layers: int, k: int, before: int, after: int) -> list[int]:
    """Entries in each layer's KV cache after prefill: layers below K hold everything."""
    return [before if layer < k else after for layer in range(layers)]


def average_tokens(layers: int, k: int, n: int, kept: int) -> float:
    """Layer average of visual tokens, the "token number" of the SparseVLM tables."""
    return sum(n if layer < k else kept for layer in range(layers)) / layers
