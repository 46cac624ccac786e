"""A ghost: a token that passes an LLM layer beside the prompt and that nobody sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prunegrid.reduce.probe import Record, Recorder, close_recorder, open_recorder, soft
from prunegrid.reduce.rows import Rows


class Beside:
    """Stands in for a cache: the keys and values that a layer recorded, the ghost's behind them. Stores nothing."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def update(self, key: Tensor, value: Tensor, *_args: Any, **_options: Any) -> tuple[Tensor, Tensor]:
        repeats = self.record.key.shape[1] // key.shape[1]  # records repeat grouped heads
        before = self.record.key[:, ::repeats], self.record.value[:, ::repeats]
        return torch.cat([before[0], key], 2), torch.cat([before[1], value], 2)


@dataclass(frozen=True)
class Ghost:
    """One decoder layer, run for one more token per sample that stands between the visual tokens and the text behind
    them: it sees all up to the last visual token, and itself; its RoPE position is that of the first text token
    behind. The layer's own forward does it, after the layer has run: nothing of the prompt changes.
    """

    layer: Any
    rotary: Any  # the decoder's rotary embedding
    record: Record  # the layer's, at prefill
    rows: Rows  # the layer's

    @torch.no_grad()
    def advance(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, D] entering the layer -> ([B, D] leaving it, its attention [B, H, K + 1] fp32, itself last)."""
        own = Recorder()
        own.want(self.layer.self_attn)
        position = self._position()
        sees = torch.cat([self._sees(), torch.ones_like(position, dtype=torch.bool)], 1)
        outer, checkpoints = open_recorder(own), self.layer.gradient_checkpointing
        # A checkpointed layer takes no cache, and nothing is learnt here.
        self.layer.gradient_checkpointing = False
        try:
            # forward, not the module: its hooks reduce the prompt
            out: Tensor = self.layer.forward(
                x[:, None],
                attention_mask=sees[:, None, None],
                position_ids=position,
                past_key_values=Beside(self.record),
                use_cache=True,
                position_embeddings=self.rotary(x[:, None], position_ids=position),
            )
        finally:
            self.layer.gradient_checkpointing = checkpoints
            close_recorder(outer)
        logits = own.record(self.layer.self_attn).logits(torch.zeros(1, dtype=torch.long, device=x.device))
        return out[:, 0], soft(logits).squeeze(2)

    def _last(self) -> Tensor:
        """[B, 1] column of the last visual token."""
        column = torch.arange(self.rows.row.shape[1], device=self.rows.row.device)
        return (column * (self.rows.visual & self.rows.valid)).amax(1, keepdim=True)

    def _sees(self) -> Tensor:
        column = torch.arange(self.rows.row.shape[1], device=self.rows.row.device)
        return self.rows.valid & (column <= self._last())

    def _position(self) -> Tensor:
        behind = (self._last() + 1).clamp_max(self.rows.row.shape[1] - 1)
        return self.rows.position.gather(1, behind)
