"""One row of an attention rollout, without any N x N matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from prunegrid.reduce.view import TokenView

Push = Callable[[int, Tensor], Tensor]


def rollout_row(top: Tensor, below: Sequence[int], query: Tensor, push: Push) -> Tensor:
    """The query's row of R^top, where R^l1 = A^l1 and R^l = (A^l + I) R^(l-1): [B, K] over all keys.

    `top` [B, K] is its row of A at the top layer, `query` [B, K] the one-hot of its column, `below` the layers
    under the top, from the bottom up; push(l, r) = r A^l. Only the lowest layer has no + I (IVTP, Eq. 3). Rows of
    A sum to 1, so that normalising A + I would only scale the result.
    """
    if not below:
        return top
    row = top + query
    for layer in reversed(below[1:]):
        row = push(layer, row) + row
    return push(below[0], row)


def class_row(view: TokenView, layer: int) -> Tensor:
    """[B, K] fp32: the CLS token's attention over ALL keys of a ViT layer, mean over heads."""
    return view.attended[layer].weights().mean(1).squeeze(1)


def class_rollout(view: TokenView, layers: Sequence[int]) -> Tensor:
    """[B, N] fp32: the CLS row of the rollout over a group of ViT layers, at these tokens."""
    top = class_row(view, layers[-1])
    query = torch.zeros_like(top)
    query[:, 0] = 1
    return view.select(layers[-1], rollout_row(top, layers[:-1], query, view.push))


def value_norms(view: TokenView, layer: int) -> Tensor:
    """[B, N] fp32: length of each token's value vector, heads concatenated."""
    return view.values[layer].float().square().sum((1, 3)).sqrt()
