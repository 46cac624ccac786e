"""Mixing by bags: the same sums and gradients as with full rows of weights, and refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from prunegrid.reduce import Reduction
from prunegrid.reduce.methods.matching import join
from prunegrid.reduce.ops import apply, check
from prunegrid.reduce.view import Bags

BATCH, COUNT, WIDTH = 3, 20, 8
START = torch.tensor([[0, 5, 5, 9], [0, 0, 7, 8], [0, 1, 2, 3]])  # some bags are empty


def made(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(3)
    tokens = torch.randn(BATCH, COUNT, WIDTH, generator=g, dtype=torch.float64)
    source = torch.randint(
        COUNT, (BATCH, 12), generator=g
    )  # the same token in several bags, and twice in one
    return tokens.to(dtype), source, torch.rand(BATCH, 12, generator=g, dtype=torch.float64).to(dtype)


def dense(source: Tensor, share: Tensor) -> Tensor:
    """[B, n, N], entry by entry."""
    weights = share.new_zeros(BATCH, START.shape[1], COUNT)
    for b in range(BATCH):
        for e in range(source.shape[1]):
            survivor = max(i for i in range(START.shape[1]) if START[b, i] <= e)
            weights[b, survivor, source[b, e]] += share[b, e]
    return weights


def test_bags_sum_as_rows_of_weights_and_so_do_their_gradients() -> None:
    tokens, source, share = made()
    keep, prefix = torch.arange(4).expand(BATCH, -1), torch.full((BATCH, 1, WIDTH), 1e6)
    got: list[Any] = []
    for bags in (True, False):
        x, s = tokens.clone().requires_grad_(), share.clone().requires_grad_()
        mixed = Reduction(keep, bags=Bags(source, s, START))
        out = apply(mixed, x, prefix) if bags else dense(source, s) @ x
        out.pow(3).sum().backward()
        got.append((out, x.grad, s.grad))
    for bag, row in zip(*got, strict=True):
        torch.testing.assert_close(bag, row)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_sums_are_as_exact_as_a_matrix_product(dtype: torch.dtype) -> None:
    tokens, source, share = made(dtype)
    keep = torch.arange(4).expand(BATCH, -1)
    out = apply(Reduction(keep, bags=Bags(source, share.float(), START)), tokens, tokens[:, :0])
    assert out.dtype == dtype
    want = dense(source.clone(), share.double()) @ tokens.double()
    torch.testing.assert_close(out.double(), want, rtol=2 * torch.finfo(dtype).eps, atol=1e-2)


def test_joining_gives_every_token_to_its_survivor() -> None:
    tokens, _, _ = made()
    group = torch.tensor([1, 0, 2, 1] * 5).expand(BATCH, -1)
    r = join(
        torch.tensor([[1, 0, 2]]).expand(BATCH, -1), group, torch.arange(20.0).expand(BATCH, -1).double()
    )
    out = apply(r, tokens, tokens[:, :0])
    for place in range(3):
        members = [j for j in range(COUNT) if group[0, j] == place]
        torch.testing.assert_close(out[:, place], sum(j * tokens[:, j] for j in members))
    assert r.mixes and r.pure and torch.equal(r.group, group)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"start": START[:, :2]}, r"bags.start \[3, 2\] does not fit keep \[3, 4\]"),
        ({"share": torch.ones(BATCH, 11)}, r"bags.source \[3, 12\] and bags.share \[3, 11\] must be equal"),
        ({"source": torch.full((BATCH, 12), COUNT)}, r"bags.source must lie in 0\.\.19, got 20\.\.20"),
    ],
)
def test_bags_that_do_not_fit_are_refused(changed: dict[str, Tensor], said: str) -> None:
    _, source, share = made()
    bags = Bags(**({"source": source, "share": share, "start": START} | changed))
    with pytest.raises(ValueError, match=said):
        check(Reduction(torch.arange(4).expand(BATCH, -1), bags=bags), BATCH, COUNT, "It")


def test_one_way_of_mixing_at_a_time() -> None:
    _, source, share = made()
    both = Reduction(
        torch.arange(4).expand(BATCH, -1), torch.ones(BATCH, 4, COUNT), bags=Bags(source, share, START)
    )
    with pytest.raises(ValueError, match="weights and bags say the same"):
        check(both, BATCH, COUNT, "It")
