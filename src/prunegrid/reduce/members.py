"""Which patches are mixed into which token: followed through all reductions once they are over, for drawings and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from prunegrid.reduce.ops import survivors_valid
from prunegrid.reduce.view import Reduction

Members = list[frozenset[int]]  # of one sample: per token the patches in it; none for text


@dataclass(frozen=True)
class Step:
    """A reduction and the tokens it was asked about: `valid` [B, N], behind `prefix` others.

    In the language model these were the `columns` [B, N] of T, and `order` [B, W] says where each of the next layer's
    columns comes from: below T a column of before, from T on a survivor.
    """

    reduction: Reduction
    valid: Tensor
    prefix: int = 0
    columns: Tensor | None = None
    order: Tensor | None = None


def follow(members: Sequence[Members], step: Step) -> list[Members]:
    """Members of every token after a step, one list per sample. Asks the device."""
    r = step.reduction
    entering = sources(r, step.prefix)
    if step.columns is None or step.order is None:
        return [_union(mine, who) for mine, who in zip(members, entering, strict=True)]
    keeps, real = r.keep.tolist(), survivors_valid(r, step.valid).tolist()
    after = []
    for b, (columns, order) in enumerate(zip(step.columns.tolist(), step.order.tolist(), strict=True)):
        made = _union([members[b][c] for c in columns], entering[b])
        places = [*members[b], *made]
        for k, ok, one in zip(keeps[b], real[b], made, strict=True):
            if ok and k >= 0:
                places[columns[k]] = one
        after.append([places[c] for c in order])
    return after


def sources(r: Reduction, prefix: int) -> list[list[list[int]]]:
    """Per sample and survivor the tokens that enter it with a share other than 0; prefix tokens are left out."""
    if r.bags is not None:
        start = [[*row, r.bags.source.shape[1]] for row in r.bags.start.tolist()]
        live = (r.bags.share != 0).tolist()
        rows = [[j if yes else -1 for j, yes in zip(*row, strict=True)]
                for row in zip(r.bags.source.tolist(), live, strict=True)]  # fmt: skip
        return [
            [[j for j in row[a:b] if j >= 0] for a, b in pairwise(cuts)]
            for row, cuts in zip(rows, start, strict=True)
        ]
    if r.weights is None:
        return [[[j] if j >= 0 else [] for j in row] for row in r.keep.tolist()]
    found: list[list[list[int]]] = [[[] for _ in row] for row in r.keep.tolist()]
    for b, s, j in (r.weights[..., prefix:] != 0).nonzero().tolist():
        found[b][s].append(j)
    return found


def _union(members: Members, entering: Sequence[Sequence[int]]) -> Members:
    return [frozenset[int]().union(*(members[j] for j in who)) for who in entering]


def followed(members: list[Members], steps: Sequence[Step]) -> list[Members]:
    """`follow`, step after step."""
    for step in steps:
        members = follow(members, step)
    return members


def entered(before: Sequence[Sequence[Sequence[int]]], index: Tensor, visual: Tensor) -> list[Members]:
    """Members of a prompt's columns from the trace's of its visual tokens, or, where it has none, their `index` [B, T];
    text has none. `visual` bool [B, T]."""
    start = []
    for b, (patches, columns) in enumerate(zip(index.tolist(), visual.tolist(), strict=True)):
        own = [[i] if i >= 0 else [] for i, yes in zip(patches, columns, strict=True) if yes]
        mine = iter(before[b] if before else own)
        start.append([frozenset(next(mine) if yes else ()) for yes in columns])
    return start


def listed(members: Sequence[Members], live: Tensor) -> list[list[list[int]]]:
    """Members of the tokens that are `live` [B, N], as the trace holds them: ascending patch ids."""
    return [
        [sorted(each) for each, yes in zip(mine, row, strict=True) if yes]
        for mine, row in zip(members, live.tolist(), strict=True)
    ]
