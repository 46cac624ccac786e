"""CDPruner (arXiv:2506.10967), one image at a time, by determinants of whole blocks; no code of the package."""

import torch
from torch import Tensor


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt()))


def against(patches: Tensor, texts: Tensor) -> list[float]:
    """patches [N, E], texts [W, E], both in CLIP's joint space -> minus the mean cosine of each patch to the texts."""
    return [-sum(cosine(p, t) for t in texts) / len(texts) for p in patches]


def relevance(scores: list[float], low: float, high: float) -> list[float]:
    """Min-max normalised, with 1e-6 on top of the numerator."""
    return [(s - low + 1e-6) / (high - low) for s in scores]


def kernel(projected: Tensor, rel: list[float]) -> Tensor:
    """projected [N, D] -> L [N, N]: rel_i cos(i, j) rel_j."""
    count = len(projected)
    out = torch.zeros(count, count, dtype=torch.float64)
    for i in range(count):
        for j in range(count):
            out[i, j] = rel[i] * cosine(projected[i].double(), projected[j].double()) * rel[j]
    return out


def greedy(matrix: Tensor, count: int) -> list[int]:
    """Again and again the token that makes the determinant of the chosen block largest; the earlier one where equal."""
    chosen: list[int] = []
    while len(chosen) < count:
        best, largest = -1, -float("inf")
        for i in range(len(matrix)):
            block = [*chosen, i]
            if i not in chosen:
                volume = float(torch.linalg.det(matrix[block][:, block]))
                if volume > largest:
                    best, largest = i, volume
        chosen.append(best)
    return chosen


def cdpruner(projected: Tensor, patches: Tensor, texts: Tensor, count: int) -> list[int]:
    """The kept tokens in raster order: projected [N, D], patches [N, E] and texts [W, E] in CLIP's joint space."""
    scores = against(patches, texts)
    return sorted(greedy(kernel(projected, relevance(scores, min(scores), max(scores))), count))
