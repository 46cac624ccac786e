"""FasterVLM and VisPruner (arXiv:2412.01818), one image at a time, in plain loops; no code of the package."""

from torch import Tensor


def fastervlm(a: Tensor, count: int) -> list[int]:
    """a [N] mean over heads of the class row -> the `count` highest, in raster order."""
    return sorted(_falling(a)[:count])


def cosine(x: Tensor, i: int, j: int) -> float:
    return float((x[i] * x[j]).sum() / (x[i].square().sum().sqrt() * x[j].square().sum().sqrt()))


def vispruner(
    x: Tensor, a: Tensor, count: int, *, important: float = 0.5, step: int = 8
) -> tuple[list[int], list[int]]:
    """x [N, C] features, a [N] class attention -> (important, diverse) patches, each in raster order.

    int(count * important) by attention. The others stand by falling attention; until as many are left as are
    wanted: even places against odd ones, an even token's score is its highest cosine with any odd one, and the
    min(step, surplus) even tokens of highest score go. What is left keeps its order of falling attention.
    """
    ranked = _falling(a)
    best, rest = ranked[: int(count * important)], ranked[int(count * important) :]
    wanted = count - len(best)
    while len(rest) > wanted:
        even, odd = rest[::2], rest[1::2]
        redundancy = {i: max((cosine(x, i, j) for j in odd), default=-1.0) for i in even}
        surplus = min(step, len(rest) - wanted)
        gone = sorted(even, key=lambda i: -redundancy[i])[:surplus]
        rest = [i for i in rest if i not in gone]
    return sorted(best), sorted(rest)


def _falling(a: Tensor) -> list[int]:
    values = a.tolist()
    return sorted(range(len(values)), key=lambda j: -values[j])
