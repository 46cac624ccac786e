"""One row of an attention rollout, without any N x N matrix.

IVTP, section 3.2, Eqs. 3 and 4, without official code: the paper multiplies whole matrices, one row gives the same.
Cost: a CLS row (2 N C) of every layer of the group, and for all but the top one `push`: its attention once more,
block by block (2 N^2 C), times the row (2 N^2). No sync.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
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


@dataclass(frozen=True)
class Observer:
    """The token whose attention scores the others: its rows [B, K] over all keys of each layer, mean over heads, the
    column that it stands in itself, and r -> r A^l over the same columns."""

    rows: Mapping[int, Tensor]
    column: int
    push: Push

    def rollout(self, view: TokenView, layers: Sequence[int]) -> Tensor:
        """[B, N] fp32: its row of the rollout over a group of layers, at the view's tokens."""
        top = self.rows[layers[-1]]
        query = torch.zeros_like(top)
        query[:, self.column] = 1
        return view.select(layers[-1], rollout_row(top, layers[:-1], query, self.push))


def class_token(view: TokenView, layers: Sequence[int]) -> Observer:
    """The CLS of the vision tower."""
    rows = {layer: view.attended[layer].weights().mean(1).squeeze(1) for layer in layers}
    return Observer(rows, 0, view.push)


def ghost_token(view: TokenView, rows: Mapping[int, Tensor]) -> Observer:
    """A token beside the prompt, in one more column behind all others: rows [B, K + 1]. Nobody looks at it, so that
    its column of A holds its own weight alone."""

    def push(layer: int, row: Tensor) -> Tensor:
        return F.pad(view.push(layer, row[:, :-1]), (0, 1)) + row[:, -1:] * rows[layer]

    return Observer(rows, -1, push)


def class_rollout(view: TokenView, layers: Sequence[int]) -> Tensor:
    """[B, N] fp32: the CLS row of the rollout over a group of ViT layers, at these tokens."""
    return class_token(view, layers).rollout(view, layers)


def value_norms(view: TokenView, layer: int) -> Tensor:
    """[B, N] fp32: length of each token's value vector, heads concatenated."""
    return view.values[layer].float().square().sum((1, 3)).sqrt()
