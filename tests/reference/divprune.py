"""DivPrune (arXiv:2503.02175), one image at a time, in plain loops; no code of the package."""

from torch import Tensor


def distance(x: Tensor, i: int, j: int) -> float:
    """1 - cosine of two rows."""
    lengths = x[i].square().sum().sqrt() * x[j].square().sum().sqrt()
    return 1 - float((x[i] * x[j]).sum() / lengths)


def divprune(x: Tensor, count: int) -> list[int]:
    """x [N, D] PROJECTED features -> `count` tokens of greatest minimum distance (greedy), in raster order.

    First the token whose nearest neighbour is farthest; then, again and again, the token whose nearest selected
    token is farthest. The earlier token where distances are equal.
    """
    return sorted(divprune_order(x, count))


def divprune_order(x: Tensor, count: int) -> list[int]:
    """The same in the order of selection."""
    tokens = x.shape[0]
    apart = [[distance(x, i, j) for j in range(tokens)] for i in range(tokens)]
    chosen: list[int] = []
    while len(chosen) < count:
        best, farthest = -1, -float("inf")
        for i in range(tokens):
            if i in chosen:
                continue
            others = chosen or [j for j in range(tokens) if j != i]
            nearest = min((apart[i][j] for j in others), default=0.0)
            if nearest > farthest:
                best, farthest = i, nearest
        chosen.append(best)
    return chosen


def kept_count(ratio: float, tokens: int) -> int:
    """round(ratio * tokens): .098 of 576 is 56."""
    return round(ratio * tokens)
