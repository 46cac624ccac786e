"""The tokens of a prompt as one LLM layer sees them, and how they follow each reduction at PROMPT."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from prunegrid.reduce.ops import apply, survivors_index, survivors_size, survivors_valid
from prunegrid.reduce.probe import Attended, Record
from prunegrid.reduce.view import Reduction, TokenView


@dataclass(frozen=True)
class Rows:
    """[B, T_l] each, in the order in which they may see each other."""

    row: Tensor  # column in the full, left-padded prompt; a new token has that of the visual token before it
    position: Tensor  # RoPE position
    valid: Tensor  # real, not padding
    visual: Tensor
    index: Tensor  # patch id, -1 for text and new tokens
    size: Tensor
    dense: bool = False  # no padding at all: plain causal attention needs no mask
    past: tuple[Tensor, ...] = ()  # per narrowing: columns of the layer before, -1 = new
    pure: tuple[bool, ...] = ()  # per narrowing: it made no new token
    # What is known without asking the device, per sample: real tokens, visual ones; and the most text behind an image.
    held: tuple[int, ...] = ()
    seen: tuple[int, ...] = ()
    behind: int | None = None

    @classmethod
    def full(cls, valid: Tensor, visual: Tensor, index: Tensor, size: Tensor) -> Rows:
        """The prompt as it enters the language model."""
        row = torch.arange(valid.shape[1], device=valid.device).expand(valid.shape)
        sums = torch.stack((valid.sum(1), (valid & visual).sum(1), _behind(valid, visual).sum(1)))
        held, seen, behind = sums.tolist()
        return cls(
            row,
            ordinal(valid),
            valid,
            visual,
            index,
            size,
            dense=min(held) == valid.shape[1],
            held=tuple(held),
            seen=tuple(seen),
            behind=max(behind),
        )

    def take(self, columns: Tensor) -> Rows:
        return replace(
            self,
            row=self.row.gather(1, columns),
            position=self.position.gather(1, columns),
            valid=self.valid.gather(1, columns),
            visual=self.visual.gather(1, columns),
            index=self.index.gather(1, columns),
            size=self.size.gather(1, columns),
        )

    def append(self, other: Rows) -> Rows:
        return replace(
            self,
            row=torch.cat([self.row, other.row], 1),
            position=torch.cat([self.position, other.position], 1),
            valid=torch.cat([self.valid, other.valid], 1),
            visual=torch.cat([self.visual, other.visual], 1),
            index=torch.cat([self.index, other.index], 1),
            size=torch.cat([self.size, other.size], 1),
        )

    def mask(self) -> Tensor | None:
        """bool [B, 1, T_l, T_l], causal; padded queries see themselves, no row is empty; None if dense."""
        if self.dense:
            return None
        length = self.row.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=self.row.device).tril()
        return (
            (causal & self.valid[:, None, :]) | torch.eye(length, dtype=torch.bool, device=self.row.device)
        )[:, None]

    def columns_at(self, age: int, layer: int) -> Tensor:
        """[B, T_l]: the columns that today's rows had after `age` narrowings."""
        columns = torch.arange(self.row.shape[1], device=self.row.device).expand(self.row.shape)
        for origin, pure in reversed(list(zip(self.past[age:], self.pure[age:], strict=True))):
            columns = origin.gather(1, columns)
            if not pure and bool(((columns < 0) & self.valid).any()):
                raise ValueError(
                    f"attention of LLM layer {layer} has no column for tokens made since: probe a later one"
                )
            columns = columns.clamp_min(0)
        return columns


def ordinal(valid: Tensor) -> Tensor:
    """[B, T] positions of left-padded tokens: 0, 1, 2, ... from the first real one; 0 in the padding."""
    return (valid.long().cumsum(1) - 1).clamp_min(0)


def _behind(valid: Tensor, visual: Tensor) -> Tensor:
    """bool [B, T]: text behind the first visual token."""
    seen = visual & valid
    return valid & ~seen & (seen.long().cumsum(1) > 0)


def attended(record: Record, queries: str | None, rows: Rows) -> Attended:
    """The probe's rows in a causal, left-padded prompt: the `last` token, or all `text` after the image."""
    if queries == "last":
        last = torch.tensor([record.query.shape[2] - 1], device=rows.row.device)
        return Attended(record.logits(last), rows.valid[:, -1:])
    text = _behind(rows.valid, rows.visual)
    most = int(text.sum(1).max()) if rows.behind is None else rows.behind
    which = (~text).to(torch.int8).argsort(dim=1, stable=True)[:, :most]
    return Attended(record.logits(which), text.gather(1, which))


def rewrite(
    r: Reduction, view: TokenView, hidden: Tensor, rows: Rows, columns: Tensor, scope: Tensor
) -> tuple[Tensor, Rows, Tensor, Tensor]:
    """Apply a reduction to the full rows: mixed tokens in their representative's column, new ones appended.

    Returns hidden, rows, `stay` and `origin` (column before, -1 = new), all [B, T + new].
    """
    batch, length = rows.row.shape
    real, fresh = survivors_valid(r, view.valid), r.keep < 0
    kept = columns.gather(1, r.keep.clamp_min(0))
    target = kept.masked_fill(~real | fresh, length)  # a spill column takes what must not be written
    stay = torch.cat([~scope, scope.new_zeros(batch, 1)], 1).scatter(1, target, True)[:, :length] & rows.valid
    origin = torch.arange(length, device=rows.row.device).expand(batch, length)

    def put(x: Tensor, new: Tensor) -> Tensor:
        return torch.cat([x, x[:, :1]], 1).scatter(1, target, new)[:, :length]

    size = survivors_size(r, view.size)
    rows = replace(rows, size=put(rows.size, size))
    if r.position is not None:
        rows = replace(rows, position=put(rows.position, r.position))
    if not r.mixes:
        return hidden, rows, stay, origin
    mixed = apply(r, view.tokens, view.prefix)
    spread = target[..., None].expand(-1, -1, hidden.shape[-1])
    hidden = torch.cat([hidden, hidden[:, :1]], 1).scatter(1, spread, mixed)[:, :length]
    if r.made == 0 or (r.made is None and not bool(fresh.any())):
        return hidden, rows, stay, origin
    # A new token stands right behind the last visual token that its layer saw, and takes its position.
    last = (rows.row * (rows.visual & rows.valid)).argmax(1, keepdim=True).expand(-1, r.keep.shape[1])
    tail = rows.take(last)
    tail = replace(
        tail,
        position=tail.position if r.position is None else r.position,
        valid=real & fresh,
        visual=fresh,
        index=survivors_index(r, view.index),
        size=size,
    )
    made = torch.full_like(r.keep, -1)
    return (
        torch.cat([hidden, mixed], 1),
        rows.append(tail),
        torch.cat([stay, tail.valid], 1),
        torch.cat([origin, made], 1),
    )
