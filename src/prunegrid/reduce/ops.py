"""Tensor helpers that reducers and the session share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from prunegrid.reduce.view import Bags, Reduction


def gather(x: Tensor, index: Tensor) -> Tensor:
    """x [B, N, ...], index [B, n] -> [B, n, ...]."""
    x = x.expand(index.shape[0], *x.shape[1:])
    return x.gather(1, index.view(*index.shape, *([1] * (x.dim() - 2))).expand(*index.shape, *x.shape[2:]))


def rows(x: Tensor, index: Tensor) -> Tensor:
    """`gather` by whole rows, which on a CPU takes a tenth of its time. Only for indices that are known to exist: a
    wrong one may read the row of another sample."""
    if x.device.type != "cpu":
        return gather(x, index)
    x = x.expand(index.shape[0], *x.shape[1:])
    return x.flatten(0, 1).index_select(0, _flat(index, x.shape[1])).view(*index.shape, *x.shape[2:])


def _flat(index: Tensor, stride: int) -> Tensor:
    """index [B, n] into rows of `stride` -> [B * n] into all rows, one sample behind the other."""
    return (index + stride * torch.arange(len(index), device=index.device)[:, None]).flatten()


def top(score: Tensor, n: int, valid: Tensor | None = None) -> Tensor:
    """Indices [B, n] of the n highest scores [B, N], in descending order; invalid tokens come last."""
    if valid is not None:
        score = score.masked_fill(~valid, -torch.inf)
    return score.topk(n, dim=1).indices


def raster(keep: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Sort kept indices [B, n] ascending; where `valid` is given, invalid ones go to the end."""
    if valid is None:
        return keep.sort(1).values, None
    order = keep.masked_fill(~valid, torch.iinfo(keep.dtype).max).argsort(dim=1, stable=True)
    return keep.gather(1, order), valid.gather(1, order)


def span(counts: Tensor) -> tuple[int, bool]:
    """[B] -> (the highest count, whether they differ): the one synchronisation of an adaptive method."""
    if not counts.numel():
        return 0, False
    most, least = torch.stack((counts.max(), counts.min())).tolist()
    return int(most), most != least


def pack(flags: Tensor) -> tuple[Tensor, Tensor, bool]:
    """bool [B, N] -> (indices [B, n] of the True ones in order, valid [B, n], whether it holds a False); n = the
    most of any sample."""
    n, ragged = span(flags.sum(1))
    keep = (~flags).to(torch.int8).argsort(dim=1, stable=True)[:, :n]
    return keep, flags.gather(1, keep), ragged


def first(counts: Tensor, n: int) -> Tensor:
    """[B] counts -> bool [B, n]: True for the first counts[b] columns."""
    return torch.arange(n, device=counts.device)[None, :] < counts[:, None]


def apply(reduction: Reduction, tokens: Tensor, prefix: Tensor) -> Tensor:
    """tokens [B, N, D], prefix [B, P, D] -> survivors [B, n, D]."""
    if reduction.bags is not None:
        return mixed(reduction.bags, tokens)
    if reduction.weights is None:
        return rows(tokens, reduction.keep)
    return reduction.weights.to(tokens.dtype) @ torch.cat([prefix, tokens], 1)


def mixed(bags: Bags, tokens: Tensor) -> Tensor:
    """tokens [B, N, D] -> survivors [B, n, D]: sums over bags, in the tokens' dtype."""
    batch, count, width = tokens.shape
    rows = F.embedding_bag(
        _flat(bags.source, count),
        tokens.flatten(0, 1),
        _flat(bags.start, bags.source.shape[1]),
        mode="sum",
        per_sample_weights=bags.share.to(tokens.dtype).flatten(),
    )
    return rows.view(batch, -1, width)


def survivors_valid(reduction: Reduction, valid: Tensor) -> Tensor:
    """bool [B, n]: which survivors are real."""
    if reduction.valid is not None:
        return reduction.valid
    return valid.gather(1, reduction.keep.clamp_min(0)) | (reduction.keep < 0)


def survivors_index(reduction: Reduction, index: Tensor) -> Tensor:
    """int [B, n]: the patch that each survivor represents; -1 for new tokens."""
    if index.shape[1] == 0:
        return reduction.keep.clone()
    return index.gather(1, reduction.keep.clamp_min(0)).masked_fill(reduction.keep < 0, -1)


def survivors_size(reduction: Reduction, size: Tensor) -> Tensor:
    """float [B, n]: how many patches each survivor stands for; follows `group` where the method merges."""
    if reduction.group is not None:
        total = size.new_zeros(reduction.keep.shape)
        live = reduction.group >= 0
        return total.scatter_add(1, reduction.group.clamp_min(0), size * live)
    if size.shape[1] == 0:
        return size.new_ones(reduction.keep.shape)
    return size.gather(1, reduction.keep.clamp_min(0)).masked_fill(reduction.keep < 0, 1.0)


def pick(x: Tensor, columns: Tensor) -> Tensor:
    """x [B, H, K, Dh], columns [B, N] (or [B, h, N], h = 1 or H) -> [B, H, N, Dh]."""
    if columns.dim() == 2:
        return rows(x.transpose(1, 2), columns).transpose(1, 2)
    return x.gather(2, columns.expand(-1, x.shape[1], -1)[..., None].expand(-1, -1, -1, x.shape[3]))


def check(reduction: Reduction, batch: int, tokens: int, who: str) -> Reduction:
    """Refuse what no gather would refuse clearly. The range of `keep` is read on the CPU alone: on an accelerator
    that would cost a synchronisation, and its own kernels refuse an index that does not exist."""
    keep = reduction.keep
    if keep.dtype != torch.long:
        raise TypeError(f"{who}: keep must be int64, got {keep.dtype}")
    if keep.shape[0] != batch:
        raise ValueError(f"{who}: keep {list(keep.shape)} must have a row for each of the {batch} samples")
    named = {"valid": reduction.valid, "position": reduction.position, "weights": reduction.weights}
    for name, value in named.items():
        if value is not None and value.shape[: keep.dim()] != keep.shape:
            raise ValueError(f"{who}: {name} {list(value.shape)} does not fit keep {list(keep.shape)}")
    if reduction.bags is not None:
        _check_bags(reduction, batch, tokens, who)
    if keep.numel() and keep.device.type == "cpu":
        low, high = torch.stack((keep.min(), keep.max())).tolist()
        if high >= tokens or low < -1:
            raise ValueError(f"{who}: keep must lie in 0..{tokens - 1} (or -1), got {low}..{high}")
        if not reduction.mixes and low < 0:
            raise ValueError(f"{who}: keep=-1 (a new token) needs weights")
    return reduction


def _check_bags(reduction: Reduction, batch: int, tokens: int, who: str) -> None:
    """The form of `bags`."""
    bags = reduction.bags
    assert bags is not None
    if reduction.weights is not None:
        raise ValueError(f"{who}: weights and bags say the same in two ways; give one of them")
    if bags.start.shape != reduction.keep.shape:
        raise ValueError(
            f"{who}: bags.start {list(bags.start.shape)} does not fit keep {list(reduction.keep.shape)}"
        )
    if bags.source.shape != bags.share.shape or len(bags.source) != batch:
        raise ValueError(
            f"{who}: bags.source {list(bags.source.shape)} and bags.share {list(bags.share.shape)} "
            f"must be equal, with a row for each of the {batch} samples"
        )
    if bags.source.numel() and bags.source.device.type == "cpu":
        low, high = torch.stack((bags.source.min(), bags.source.max())).tolist()
        if high >= tokens or low < 0:
            raise ValueError(f"{who}: bags.source must lie in 0..{tokens - 1}, got {low}..{high}")
