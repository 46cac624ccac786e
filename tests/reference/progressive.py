"""Dropping layer by layer inside the ViT (IVTP Table 1's Random and TopK), in plain loops; no package code."""

from collections.abc import Callable, Sequence

from torch import Tensor

Score = Callable[[int, list[int]], Sequence[float]]


def linear_counts(patches: int, target: int, layers: int) -> list[int]:
    """Patches alive after each of `layers` layers: a constant number fewer per layer, rounded half up."""
    counts = []
    for i in range(1, layers + 1):
        exact = patches - (patches - target) * i / layers
        counts.append(int(exact + 0.5))
    return counts


def geometric_counts(patches: int, target: int, prunes: int) -> list[int]:
    """A constant share per prune: 576 -> 64 in 12 is 480, 399, 333, 277, 231, 192, 160, 133, 111, 92, 77, 64."""
    share = (target / patches) ** (1 / prunes)
    return [int(patches * share**i + 0.5) for i in range(1, prunes + 1)]


def drop_lowest(counts: Sequence[int], score: Score, patches: int) -> list[list[int]]:
    """Which of the original patches are alive after each layer, in raster order.

    score(layer, alive) -> one number per living patch, from the layer as it runs over the living ones.
    """
    alive = list(range(patches))
    history = []
    for layer, count in enumerate(counts):
        values = score(layer, alive)
        ranked = sorted(range(len(alive)), key=lambda slot: -float(values[slot]))[:count]
        alive = [alive[slot] for slot in sorted(ranked)]
        history.append(alive)
    return history


def class_scores(attention: Tensor) -> list[float]:
    """attention [H, 1 + n], the class row of every head softmaxed over the class token and the n living patches
    -> n numbers: the mean over heads, the class column left out."""
    heads, columns = attention.shape
    return [sum(float(attention[h, j]) for h in range(heads)) / heads for j in range(1, columns)]
