"""IVTP (Instruction-guided Visual Token Pruning, ECCV 2024), one sample at a time, with full matrices.

There is no official code. Letters: H heads, T tokens of a layer, N patches, D width, Dh head width, L layers of a
group. Attention matrices are [H, T, T] with rows that sum to 1.
"""

from typing import Literal

import torch
from torch import Tensor

Aggregation = Literal["residual", "mean", "max", "multiply", "top"]


# ---- schedule ------------------------------------------------------------------------------------------------


def counts(patches: int, target: int, prunes: int) -> list[int]:
    """Tokens left after each prune at one and the same keep ratio: 480, 399, ..., 64 for 576, 64, 12."""
    ratio = (target / patches) ** (1 / prunes)
    return [round(patches * ratio**i) for i in range(1, prunes + 1)]


def groups(layers: int, size: int | None) -> list[list[int]]:
    """Consecutive layers in groups; None = one group of all."""
    step = size or layers
    return [list(range(first, min(first + step, layers))) for first in range(0, layers, step)]


# ---- rollout -------------------------------------------------------------------------------------------------


def head_mean(attention: Tensor) -> Tensor:
    total = torch.zeros_like(attention[0])
    for one in attention:
        total += one
    return total / len(attention)


def aggregate(matrices: list[Tensor], how: Aggregation = "residual") -> Tensor:
    """The group's [H, T, T] matrices, lowest layer first -> one [T, T] relevance.

    residual (Eq. 3): R = A of the first layer, then R <- (A + I) R, not normalised. mean, max, multiply: entry by
    entry over the layers. top: the last layer alone.
    """
    flat = [head_mean(a) for a in matrices]
    if how == "top":
        return flat[-1]
    if how == "residual":
        r = flat[0]
        for a in flat[1:]:
            r = product(a + torch.eye(len(a), dtype=a.dtype), r)
        return r
    r = torch.zeros_like(flat[0])
    for i in range(len(r)):
        for j in range(len(r)):
            entries = [float(a[i, j]) for a in flat]
            value = {"mean": sum(entries) / len(entries), "max": max(entries), "multiply": 1.0}[how]
            if how == "multiply":
                for e in entries:
                    value *= e
            r[i, j] = value
    return r


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b, row by row."""
    out = torch.zeros_like(b)
    for i in range(len(a)):
        for j in range(len(b)):
            out[i] += a[i, j] * b[j]
    return out


def scores(relevance: Tensor, values: Tensor, query: int, columns: list[int]) -> list[float]:
    """S_i = R[query, i] |V_i| / sum over the columns. relevance [T, T]; values [H, T, Dh] of the group's top layer,
    length over the heads concatenated; `columns`: the visual tokens, CLS not among them."""
    raw = []
    for j in columns:
        length = sum(float(values[h, j].square().sum()) for h in range(len(values))) ** 0.5
        raw.append(float(relevance[query, j]) * length)
    return [x / sum(raw) for x in raw]


def keep(values: list[float], n: int) -> list[int]:
    """Places of the n highest scores in order of place; ties to the first. The lowest are dropped, not fused."""
    return sorted(sorted(range(len(values)), key=lambda j: (-values[j], j))[:n])


# ---- the pseudo-CLS in the language model --------------------------------------------------------------------


def with_ghost(q: Tensor, k: Tensor, q_ghost: Tensor, k_ghost: Tensor, before: list[int]) -> Tensor:
    """Attention [H, T + 1, T + 1] of one layer with one more row and column, last, for the pseudo-CLS.

    q [H, T, Dh], k [G, T, Dh], q_ghost [H, Dh], k_ghost [G, Dh], all after RoPE. Rows 0..T-1 are causal and do
    not see the ghost; the ghost sees `before` (system and image tokens) and itself.
    """
    heads, length, width = q.shape
    out = q.new_zeros(heads, length + 1, length + 1)
    for h in range(heads):
        g = h * k.shape[0] // heads
        for t in range(length + 1):
            query = q[h, t] if t < length else q_ghost[h]
            seen = list(range(t + 1)) if t < length else [*before, length]
            logits = torch.stack(
                [(query * (k[g, j] if j < length else k_ghost[g])).sum() * width**-0.5 for j in seen]
            )
            e = (logits - logits.max()).exp()
            for j, weight in zip(seen, e / e.sum(), strict=True):
                out[h, t, j] = weight
    return out


def pseudo_cls(
    embeddings: Tensor,
    similarity: list[float],
    fallback: Tensor,
    threshold: float = 0.2,
    mode: Literal["full", "all_text", "visual"] = "full",
) -> tuple[Tensor, list[int]]:
    """embeddings [X, D] of the LLM's text tokens, C_i per token (-inf: unaligned), fallback [D] = projected
    visual CLS -> the pseudo-CLS and which tokens made it.

    full: the mean of those with C_i >= threshold, the fallback if there are none (also OTT + RT, where the
    similarity is measured to the LLM's own embeddings: see `direct_similarity`). all_text (OTT): the mean of all.
    visual: the fallback.
    """
    chosen = [i for i in range(len(embeddings)) if mode == "all_text" or similarity[i] >= threshold]
    if mode == "visual" or not chosen:
        return fallback, []
    return sum((embeddings[i] for i in chosen), torch.zeros_like(fallback)) / len(chosen), chosen


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt()))


def direct_similarity(cls: Tensor, embeddings: Tensor) -> list[float]:
    """Without the text encoder (Table 6, OTT + RT): cosine of the projected visual CLS and each text embedding."""
    return [cosine(cls, e) for e in embeddings]


def similarity(cls: Tensor, clip_tokens: Tensor, alignment: list[list[int]]) -> list[float]:
    """C_i: the mean of cos(visual CLS, CLIP token) over the CLIP tokens of LLM token i; -inf where there are none.

    cls [E] CLIP's image embedding, clip_tokens [M, E] per-token text embeddings without BOS and EOS.
    """
    c = [cosine(cls, x) for x in clip_tokens]
    return [sum(c[m] for m in own) / len(own) if own else float("-inf") for own in alignment]


# ---- text: windows and alignment -----------------------------------------------------------------------------


def windows(tokens: int, size: int = 75) -> list[tuple[int, int]]:
    """[start, end) of the pieces that CLIP's text tower reads, each between BOS and EOS."""
    return [(start, min(start + size, tokens)) for start in range(0, tokens, size)]


def normalise(text: str) -> tuple[str, list[int]]:
    """Lower case, runs of white space as one space, none at the ends. Returns the string and, for each character
    of `text`, its place in it (that of the next kept character where it was dropped)."""
    out, place = "", []
    for i, char in enumerate(text):
        place.append(len(out))
        if char.isspace():
            if out and not text[i - 1].isspace() and text[i:].strip():
                out += " "
        else:
            out += char.lower()
    return out, place


def locate(pieces: list[str], text: str) -> list[tuple[int, int]]:
    """[start, end) of each piece, in order, in a normalised text. Word marks (</w>, ▁) are stripped; a piece that
    is not found (a special token, a byte) gets an empty span where the search stands."""
    spans, at = [], 0
    for piece in pieces:
        bare = piece.replace("</w>", "").replace("▁", " ").strip().lower()
        start = text.find(bare, at) if bare else -1
        if start < 0:
            spans.append((at, at))
        else:
            at = start + len(bare)
            spans.append((start, at))
    return spans


def align(llm: list[tuple[int, int]], clip: list[tuple[int, int]]) -> list[list[int]]:
    """Per LLM token the CLIP tokens whose spans overlap its own; spans in the same normalised text."""
    return [[m for m, (a, b) in enumerate(clip) if max(start, a) < min(end, b)] for start, end in llm]
