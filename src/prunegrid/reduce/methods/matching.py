"""What merging methods share: from "who joins whom, with what share" to the mixing of a reduction.

For EViT, ToMe, CrossGET and VisionZip, whose files name the sources and what differs from them.
Cost: `join` 2 N D, `mix` 2 n (P + N) D as a dense product; who joins whom is the method's to count (`merged` has
cosines of head-mean keys). No sync.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from prunegrid.reduce.flops import Flops, each, mixed, product, unit
from prunegrid.reduce.view import Bags, Reduction


def mix(keep: Tensor, group: Tensor, share: Tensor, prefix: int, made: int = 0) -> Reduction:
    """Token j enters survivor group[b, j] with weight share[b, j]. keep [B, n], group, share [B, N].

    Every token goes to one survivor at most (group -1: none), so one scatter fills the weights. `made`: of the
    survivors how many are new (-1).
    """
    live = group >= 0
    weights = share.new_zeros(*keep.shape, group.shape[1])
    weights.scatter_(1, group.clamp_min(0)[:, None], (share * live)[:, None])
    return Reduction(keep, weights=F.pad(weights, (prefix, 0)), group=group, made=made)


def join(keep: Tensor, group: Tensor, share: Tensor, made: int = 0) -> Reduction:
    """As `mix` where every token goes to a survivor (no group -1) and prefixes to none: bags instead of rows of n x N,
    so that mixing costs N x D."""
    order = group.argsort(dim=1, stable=True)
    slots = torch.arange(keep.shape[1], device=keep.device).repeat(len(keep), 1)
    start = torch.searchsorted(group.gather(1, order), slots)
    return Reduction(keep, group=group, made=made, bags=Bags(order, share.gather(1, order), start))


def places(keep: Tensor, count: int) -> Tensor:
    """keep [B, n] distinct tokens -> [B, count]: where each token stands in `keep`, -1 for those that do not."""
    order = torch.arange(keep.shape[1], device=keep.device).expand(keep.shape)
    return torch.full((keep.shape[0], count), -1, device=keep.device).scatter(1, keep, order)


def others(keep: Tensor, count: int) -> Tensor:
    """keep [B, n] distinct tokens -> the count - n other ones [B, count - n] in ascending order, without a sync."""
    flags = torch.zeros(keep.shape[0], count, dtype=torch.int8, device=keep.device).scatter(1, keep, 1)
    return flags.argsort(dim=1, stable=True)[:, : count - keep.shape[1]]


def head_mean(keys: Tensor) -> Tensor:
    """keys [B, H, N, Dh] -> unit vectors [B, N, Dh] fp32: mean over heads, then length 1."""
    return F.normalize(keys.float().mean(1), dim=-1)


def merged(tokens: int, width: int, heads: int, pairs: int) -> Flops:
    """Operations of `head_mean`, of `pairs` of its cosines, and of `join`. tokens: of that width, keys included."""
    narrow = width // heads
    means = each(1, tokens, width) + unit(tokens, narrow)
    return means + product(pairs, narrow, 1) + mixed(tokens, width)


def within(group: Tensor, slots: int, amount: Tensor) -> Tensor:
    """Each token's own group's sum of `amount`. group, amount [B, N] -> [B, N]."""
    return amount.new_zeros(len(group), slots).scatter_add(1, group, amount).gather(1, group)
