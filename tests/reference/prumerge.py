"""PruMerge and PruMerge+ (arXiv:2403.15388), one image at a time, in plain loops.

Written from the description of the released code and of the paper, not from the package, so that a test may
hold the package against it. Slow on purpose: nothing is vectorised that could hide an index error. Any float
dtype.

Letters: N patches (576 at 24 x 24), C feature width, H heads, Dh head width, m kept tokens. Index 0 of a
[1+N, .] tensor is the class token. All index lists are Python lists of patch numbers in raster order 0..N-1.
"""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

Order = Literal["descending", "raster"]
Similarity = Literal["cosine", "dot"]


class Merged(NamedTuple):
    """What a reduction answers."""

    tokens: Tensor  # [m, C], or [m + 1, C] with the remainder token last
    kept: list[int]  # [m] patch numbers in output order; the remainder token has none
    weights: Tensor  # [m, N] or [m + 1, N]; tokens == weights @ x


def percentile(values: list[float], percent: float) -> float:
    """Percentile by linear interpolation between the two nearest ranks (numpy's default)."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def iqr_outliers(a: Tensor, fence: float = 1.5) -> list[int]:
    """Patches whose attention lies strictly above Q3 + fence (Q3 - Q1), by falling attention. a: [N]."""
    values = a.tolist()
    q1, q3 = percentile(values, 25), percentile(values, 75)
    threshold = q3 + fence * (q3 - q1)
    return _by_falling(a, [j for j, value in enumerate(values) if value > threshold])


def select_topk(a: Tensor, count: int) -> list[int]:
    """The `count` patches of highest attention, by falling attention; the earlier patch first where equal."""
    return _by_falling(a, list(range(a.shape[0])))[:count]


def merge_centres(
    x: Tensor,
    keys: Tensor,
    a: Tensor,
    kept: list[int],
    complement: list[int],
    *,
    k: int = 32,
    merge: bool = True,
    remainder: bool = True,
    similarity: Similarity = "cosine",
    centre: bool = True,
    normalise: bool = False,
) -> Merged:
    """Steps 6 to 9 of the released algorithm for a chosen list of centres.

    Each centre gathers the k tokens most similar to it among all other slots: the other centres (in order),
    then the complement. A neighbour j enters with weight a[j], the centre itself with weight 1 (0 if not
    `centre`). Without `merge` each token is its centre, unchanged. The remainder token is the a-weighted sum
    of the complement. `normalise` divides every row of the weights by its sum: weighted averages.
    """
    rows = []
    for slot, i in enumerate(kept):
        row = torch.zeros_like(a)
        if centre or not merge:
            row[i] += 1
        if merge:
            others = kept[:slot] + kept[slot + 1 :] + complement
            for j in _most_similar(keys, i, others, k, similarity):
                row[j] += a[j]
        rows.append(row)
    if remainder:
        row = torch.zeros_like(a)
        for j in complement:
            row[j] += a[j]
        rows.append(row)
    if normalise:
        rows = [row / row.sum().clamp(min=1e-12) for row in rows]
    weights = torch.stack(rows) if rows else a.new_zeros(0, a.shape[0])
    return Merged(_mix(weights, x), list(kept), weights)


def prumerge(
    x: Tensor,
    keys: Tensor,
    a: Tensor,
    *,
    select: Literal["iqr", "topk"] = "iqr",
    keep: int | None = None,
    fence: float = 1.5,
    minimum: int = 1,
    order: Order = "descending",
    **merging: Any,
) -> Merged:
    """PruMerge: class-attention outliers (or the `keep` highest), each merged with its k most similar tokens.

    x: [N, C] features; keys: [N, C] unsplit keys of the patches; a: [N] class attention. `merging`:
    merge_centres. The defaults are the released code's, except `minimum`: the release keeps no patch at all
    when there is no outlier (minimum=0 gives that, the remainder token alone). The paper's reading is
    similarity="dot", centre=False, remainder=False.
    """
    if select == "topk":
        if keep is None:
            raise ValueError("select='topk' needs keep")
        kept = select_topk(a, keep)
    else:
        kept = iqr_outliers(a, fence)
    if len(kept) < minimum:
        kept = select_topk(a, minimum)
    if order == "raster":
        kept = sorted(kept)
    return merge_centres(x, keys, a, kept, _complement(kept, len(a)), **merging)


def prumerge_plus_fixed(x: Tensor, keys: Tensor, a: Tensor, *, ratio: float = 1 / 8, k: int = 32) -> Merged:
    """PruMerge+ with a fixed ratio, as released ("this is for training"): half by attention, half by place.

    The spatial patches are {step/2, step/2 + step, ... < N - 1}, step = int(1/ratio), whether already
    selected or not. A patch that is selected twice stays twice: its copies are each other's nearest neighbour
    (so the patch weighs 1 + a), both can enter other centres, and the release's complement loses its smallest
    index per copy.
    """
    patches = a.shape[0]
    top = select_topk(a, int(patches * ratio))
    step = int(1 / ratio)
    spatial = list(range(int(step / 2), patches - 1, step))
    if len(spatial) != len(top):
        raise ValueError(f"ratio {ratio}: {len(top)} by attention but {len(spatial)} by place")
    kept = top + spatial
    duplicates = len(kept) - len(set(kept))
    return merge_centres(x, keys, a, kept, _complement(kept, patches)[duplicates:], k=k)


def prumerge_plus_adaptive(x: Tensor, keys: Tensor, a: Tensor, *, fence: float = 1.5, k: int = 32) -> Merged:
    """PruMerge+ with an adaptive ratio, as released: the outliers, then every stride-th patch not among them.

    r = outliers / N, stride = int(int(1/r) / 3), from patch 0 up to but not including N - 1. Raises
    ZeroDivisionError without an outlier (as the release does) and ValueError where the stride would be 0.
    """
    patches = a.shape[0]
    top = iqr_outliers(a, fence)
    stride = int(int(1 / (len(top) / patches)) / 3)
    kept = top + [j for j in range(0, patches - 1, stride) if j not in top]
    return merge_centres(x, keys, a, kept, _complement(kept, patches), k=k)


def prumerge_plus_paper(
    x: Tensor,
    keys: Tensor,
    a: Tensor,
    *,
    fence: float = 1.5,
    spatial: Literal["grid", "pruned"] = "grid",
    **merging: Any,
) -> Merged:
    """PruMerge+ as the paper's Algorithm 1 has it: m outliers, then m more at the outlier ratio r_o = m / N.

    The paper does not say what is sampled. "grid": patch floor((i + 1/2) N / m), i < m, those already
    selected left out, so at most 2m; "pruned": the same places in the list of patches not selected, so
    exactly 2m (as written). Merging as in the paper unless `merging` says otherwise: dot product, no centre,
    no remainder token.
    """
    patches = a.shape[0]
    top = iqr_outliers(a, fence) or select_topk(a, 1)
    pool = list(range(patches)) if spatial == "grid" else _complement(top, patches)
    more = [pool[int((i + 0.5) * len(pool) / len(top))] for i in range(len(top))]
    kept = top + [j for j in more if j not in top]
    options: dict[str, Any] = {"similarity": "dot", "centre": False, "remainder": False} | merging
    return merge_centres(x, keys, a, kept, _complement(kept, patches), **options)


def _complement(kept: list[int], patches: int) -> list[int]:
    return [j for j in range(patches) if j not in kept]


def _by_falling(a: Tensor, indices: list[int]) -> list[int]:
    """`indices` by falling a; equal values keep their order."""
    values = a.tolist()
    return sorted(indices, key=lambda j: -values[j])


def _most_similar(keys: Tensor, i: int, others: list[int], k: int, similarity: Similarity) -> list[int]:
    """The k entries of `others` (which may repeat) with the highest similarity to patch i."""
    products = keys @ keys[i]
    if similarity == "cosine":
        lengths = keys.square().sum(1).sqrt().clamp(min=1e-12)
        products = products / (lengths * lengths[i])
    score = products.tolist()
    ranked = sorted(range(len(others)), key=lambda slot: -score[others[slot]])
    return [others[slot] for slot in ranked[:k]]


def _mix(weights: Tensor, x: Tensor) -> Tensor:
    """weights @ x, term by term. weights: [m, N]; x: [N, C]."""
    tokens = x.new_zeros(weights.shape[0], x.shape[1])
    for p, row in enumerate(weights.tolist()):
        for j, weight in enumerate(row):
            if weight != 0:
                tokens[p] += weight * x[j]
    return tokens
