"""SparseVLM (arXiv:2410.04417), version 1 of the released code, one sample at a time, in plain loops.

The 1e-6 random noise on densities is left out: results are deterministic, ties go to the first.

Letters: H heads, T tokens, V visual tokens, X text tokens, D width, r recycled tokens.
"""

import torch
from torch import Tensor

TABLE: dict[int, tuple[int, int, int]] = {
    192: (300, 200, 110),
    128: (303, 110, 36),
    96: (238, 48, 26),
    64: (66, 30, 17),
}  # visual tokens kept after the 0-based layers 2, 6, 15, per budget


def raters(visual: Tensor, text: Tensor) -> list[int]:
    """visual [V, D], text [X, D] embeddings at the LLM's input -> text tokens (0..X-1) that rate.

    Dot products, softmax over the TEXT, mean over visual tokens; raters lie above the mean of that.
    """
    total = [0.0] * len(text)
    for v in visual:
        logits = [float((v * t).sum()) for t in text]
        top = max(logits)
        e = [float(torch.tensor(x - top, dtype=torch.float64).exp()) for x in logits]
        for i in range(len(text)):
            total[i] += e[i] / sum(e) / len(visual)
    mean = sum(total) / len(total)
    return [i for i, x in enumerate(total) if x > mean]


def scores(attention: Tensor, rows: list[int], visual: list[int]) -> list[float]:
    """attention [H, T, T] of the layer that has just run; rows, visual: positions of raters and visual tokens.

    Mean over heads, mean over the raters' rows, one number per visual token.
    """
    heads = attention.shape[0]
    found = []
    for j in visual:
        total = sum(float(attention[h, t, j]) for h in range(heads) for t in rows)
        found.append(total / heads / len(rows))
    return found


def keep(values: list[float], n: int) -> list[int]:
    """Places of the n highest scores, in order of place."""
    return sorted(_falling(values)[:n])


def recycled(values: list[float], kept: list[int]) -> list[int]:
    """Of the pruned places the int(0.3 n) + 1 best (n = how many were pruned), by falling score."""
    pruned = [j for j in range(len(values)) if j not in kept]
    if not pruned:
        return []
    order = _falling([values[j] for j in pruned])
    return [pruned[i] for i in order[: int(len(pruned) * 0.3) + 1]]


def cluster(x: Tensor) -> tuple[list[int], list[list[int]]]:
    """x [r, D] recycled tokens -> the int(r / 10) + 1 centres by falling score and the members of each.

    DPC-KNN: distance = Euclidean / sqrt(D); density = exp(-mean squared distance to the nearest `clusters`
    tokens, itself among them); a token's separation = its distance to the nearest one of higher density (the
    largest distance of all for the densest); centres have the highest density x separation. Every other token
    joins the nearest centre.
    """
    r, width = x.shape
    clusters = int(r / 10) + 1
    apart = [
        [float((x[i] - x[j]).double().square().sum() / width) ** 0.5 for j in range(r)] for i in range(r)
    ]
    density = []
    for i in range(r):
        near = sorted(apart[i])[:clusters]
        mean = sum(d * d for d in near) / clusters
        density.append(float(torch.tensor(-mean, dtype=torch.float64).exp()))
    largest = max(max(row) for row in apart)
    score = []
    for i in range(r):
        higher = [apart[i][j] for j in range(r) if density[j] > density[i]]
        score.append(density[i] * min(higher, default=largest))
    centres = _falling(score)[:clusters]
    members: list[list[int]] = [[c] for c in centres]
    for i in range(r):
        if i not in centres:
            members[min(range(clusters), key=lambda c: apart[i][centres[c]])].append(i)
    return centres, [sorted(m) for m in members]


def stage(
    hidden: Tensor, values: list[float], n: int, recycle: bool = True
) -> tuple[Tensor, list[int], list[list[int]]]:
    """hidden [V, D] visual rows after the layer -> rows [n + clusters, D], the kept places, and the places merged
    into each new token. New tokens are plain means and follow the kept ones; nothing happens from n >= V on."""
    kept = keep(values, n)
    rows, merged = [hidden[j] for j in kept], []
    spare = recycled(values, kept) if recycle else []
    if spare:
        _, groups = cluster(hidden[spare])
        for group in groups:
            merged.append([spare[i] for i in group])
            rows.append(sum((hidden[j] for j in merged[-1]), torch.zeros_like(hidden[0])) / len(group))
    return torch.stack(rows), kept, merged


def _falling(values: list[float]) -> list[int]:
    return sorted(range(len(values)), key=lambda j: (-values[j], j))
