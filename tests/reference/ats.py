"""ATS (arXiv:2111.15667), one image and one stage at a time, in plain loops; no code of the package.

Patches are numbered 0..N-1; the class token is kept besides and counts inside every budget.
"""

import torch
from torch import Tensor


def significance_official(attention: Tensor, values: Tensor) -> Tensor:
    """attention [H, 1 + N]: class row of every head, softmaxed; values [H, 1 + N, Dh] -> [N], sum 1.

    (sum over heads of the attention) times the length of the value vector, heads concatenated.
    """
    heads, columns = attention.shape
    found = []
    for j in range(1, columns):
        seen = attention[:heads, j].sum()
        length = torch.cat([values[h, j] for h in range(heads)]).square().sum().sqrt()
        found.append(seen * length)
    raw = torch.stack(found)
    return raw / raw.sum()


def significance_haurum(attention: Tensor, values: Tensor) -> Tensor:
    """The same with a length per head: sum over heads of attention times value length -> [N], sum 1."""
    heads, columns = attention.shape
    found = []
    for j in range(1, columns):
        lengths = [attention[h, j] * values[h, j].square().sum().sqrt() for h in range(heads)]
        found.append(torch.stack(lengths).sum())
    raw = torch.stack(found)
    return raw / raw.sum()


def sample_official(s: Tensor, limit: int, *, references: int = 197) -> list[int]:
    """s [N] -> patches in ASCENDING order of significance, at most `limit` - 1 of them (at least 7).

    CDF over the ascending scores, stretched to [0, 1]; `references` - 1 points evenly spaced between its
    smallest non-zero value and 1, each picks the nearest entry (the lower one of two), doubles count once. If
    there are more than the limit, the most significant stay.
    """
    values = s.tolist()
    ranked = sorted(range(len(values)), key=lambda j: values[j])
    cdf, total = [], 0.0
    for j in ranked:
        total += values[j]
        cdf.append(total)
    low, high = cdf[0], cdf[-1]
    cdf = [(c - low) / (high - low) for c in cdf]
    start = min(c for c in cdf if c > 0)
    points = [start + (1 - start) * i / (references - 2) for i in range(references - 1)]
    slots = {_nearest(cdf, point) for point in points}
    picked = [ranked[slot] for slot in sorted(slots)]
    return picked[-(max(limit, 8) - 1) :]


def sample_haurum(s: Tensor, count: int) -> list[int]:
    """s [N] -> patches in RASTER order, at most `count`: points (2i - 1) / (2 count) on the CDF in raster order."""
    cdf, total = [], 0.0
    for value in s.tolist():
        total += value
        cdf.append(total)
    points = [(2 * i - 1) / (2 * count) for i in range(1, count + 1)]
    return sorted({_nearest(cdf, point) for point in points})


def selected_attention(q: Tensor, k: Tensor, v: Tensor, kept: list[int]) -> Tensor:
    """q, k, v [H, 1 + N, Dh] -> [H, 1 + n, Dh]: rows of the class token and of `kept`, over ALL keys and values."""
    heads, tokens, width = q.shape
    rows = [0] + [1 + j for j in kept]
    out = v.new_zeros(heads, len(rows), v.shape[2])
    for h in range(heads):
        for slot, i in enumerate(rows):
            logits = torch.stack([(q[h, i] * k[h, j]).sum() * width**-0.5 for j in range(tokens)])
            powers = torch.exp(logits - logits.max())
            for j in range(tokens):
                out[h, slot] += powers[j] / powers.sum() * v[h, j]
    return out


def _nearest(cdf: list[float], point: float) -> int:
    return min(range(len(cdf)), key=lambda slot: abs(cdf[slot] - point))
