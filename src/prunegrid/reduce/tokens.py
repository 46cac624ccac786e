"""What is known of the tokens in flight on the vision side, and how it follows each reduction."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prunegrid.reduce.ops import survivors_index, survivors_size, survivors_valid
from prunegrid.reduce.view import Reduction


@dataclass(frozen=True)
class Tokens:
    """index, size, valid [B, N] as in TokenView; `past`: the `keep` of every reduction so far."""

    index: Tensor
    size: Tensor
    valid: Tensor
    past: tuple[Tensor, ...] = ()
    pure: tuple[bool, ...] = ()  # of each: it surely made no new token
    ragged: bool = False

    @classmethod
    def fresh(cls, batch: int, count: int, device: torch.device) -> Tokens:
        index = torch.arange(count, device=device).expand(batch, count)
        ones = torch.ones(batch, count, device=device)
        return cls(index, ones, ones.bool())

    @property
    def age(self) -> int:
        """Number of reductions so far: which tokens a recorded layer saw."""
        return len(self.past)

    def after(self, r: Reduction) -> Tokens:
        valid = survivors_valid(r, self.valid)
        ragged = self.ragged if r.valid is None else r.ragged
        ragged = not bool(valid.all()) if ragged is None else ragged
        index, size = survivors_index(r, self.index), survivors_size(r, self.size)
        return Tokens(index, size, valid, (*self.past, r.keep), (*self.pure, r.pure), ragged)

    def columns_at(self, age: int, layer: int) -> Tensor:
        """[B, N]: where today's tokens stood when `age` reductions had been made."""
        columns = torch.arange(self.index.shape[1], device=self.index.device).expand(self.index.shape)
        for keep, pure in reversed(list(zip(self.past[age:], self.pure[age:], strict=True))):
            if not pure and bool((keep < 0).any()):
                raise ValueError(
                    f"attention of layer {layer} was recorded before tokens were merged into new ones: "
                    "it has no column for them. Probe a later layer."
                )
            columns = keep.gather(1, columns)
        return columns

    def counts(self) -> list[int]:
        return [int(c) for c in self.valid.sum(1).tolist()]

    def kept(self) -> list[list[int]]:
        """Per sample the patch ids in order, -1 = new."""
        return [i[v].tolist() for i, v in zip(self.index, self.valid, strict=True)]
