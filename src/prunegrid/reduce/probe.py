"""Reading attention without eager kernels: SDPA that also hands queries and keys to an open recorder.

Registered as the attention function `probed_sdpa` TOGETHER with its mask function: a name without one makes
transformers build no mask at all, silently.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

PROBED = "probed_sdpa"
BLOCK = 128  # query rows that `received` and `push` hold at once


@dataclass(frozen=True)
class Record:
    """What one attention call saw. query [B, H, Q, Dh]; key, value [B, H, K, Dh], repeated over grouped
    heads; mask broadcastable to [B, H, Q, K], bool (True = may look), or None; bias added to the logits."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    bias: Tensor | None
    scaling: float
    causal: bool

    def logits(self, rows: Tensor) -> Tensor:
        """[B, H, R, K] fp32 masked logits of the query rows [R] or [B, R] (indices into Q)."""
        query = self._pick(self.query, rows)
        logits = (query.float() * self.scaling) @ self.key.float().transpose(-1, -2)
        if self.bias is not None:
            logits = logits + self._pick_mask(self.bias, rows)
        if self.causal:  # as SDPA means it: query i sees keys 0 to i
            seen = torch.arange(self.key.shape[2], device=logits.device) <= rows[..., None]
            logits = logits.masked_fill(~(seen if seen.dim() == 2 else seen[:, None]), -torch.inf)
        if self.mask is not None:
            logits = logits.masked_fill(~self._pick_mask(self.mask, rows), -torch.inf)
        return logits

    def push(self, row: Tensor) -> Tensor:
        """row [B, Q] -> row @ (head mean of the attention) [B, K], block by block."""
        total = row.new_zeros(row.shape[0], self.key.shape[2], dtype=torch.float32)
        for rows, weights in self._blocks():
            total = total + (row[:, None, rows].float() @ weights.mean(1)).squeeze(1)
        return total

    def received(self) -> Tensor:
        """[B, H, K] attention summed over the queries, block by block."""
        total = self.key.new_zeros(*self.key.shape[:3], dtype=torch.float32)
        for _, weights in self._blocks():
            total = total + weights.sum(2)
        return total

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(query indices [R], attention [B, H, R, K]) of all queries; padded ones look at no real key."""
        for start in range(0, self.query.shape[2], BLOCK):
            rows = torch.arange(start, min(start + BLOCK, self.query.shape[2]), device=self.key.device)
            logits = self.logits(rows)
            weights = logits.softmax(-1) if self.mask is None else soft(logits)  # without one no row is empty
            if self.mask is not None and self.mask.shape[2] == 1 and self.query.shape[2] == self.key.shape[2]:
                # One key mask for all queries, as in a ragged ViT batch: padded queries are known by it.
                weights = weights * self.mask.transpose(2, 3)[:, :, rows]
            yield rows, weights

    @staticmethod
    def _pick(x: Tensor, rows: Tensor) -> Tensor:
        if rows.dim() == 1:
            return x[:, :, rows]
        index = rows[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3])
        return x.expand(rows.shape[0], -1, -1, -1).gather(2, index)

    def _pick_mask(self, mask: Tensor, rows: Tensor) -> Tensor:
        return mask if mask.shape[2] == 1 else self._pick(mask, rows)


@dataclass(frozen=True)
class Attended:
    """Rows of one layer's attention. logits [B, H, Q, K]; `real` [B, Q]: which ones a sample has."""

    logits: Tensor
    real: Tensor

    def weights(self) -> Tensor:
        """softmax over all keys, fp32; rows that are not real are zero."""
        return soft(self.logits) * self.real[:, None, :, None]


def cls_rows(record: Record) -> Attended:
    """The CLS row of a vision layer."""
    rows = torch.zeros(1, dtype=torch.long, device=record.query.device)
    return Attended(
        record.logits(rows), torch.ones(len(record.query), 1, dtype=torch.bool, device=rows.device)
    )


def soft(logits: Tensor) -> Tensor:
    """Softmax that is 0, not NaN, for rows without any key."""
    return torch.nan_to_num(logits.softmax(-1, dtype=torch.float32))


class Recorder:
    """Holds the last record of each module that somebody asked for."""

    def __init__(self) -> None:
        self.wanted: set[int] = set()
        self.records: dict[int, Record] = {}

    def want(self, module: nn.Module) -> None:
        self.wanted.add(id(module))

    def record(self, module: nn.Module) -> Record:
        return self.records[id(module)]


_open: ContextVar[Recorder | None] = ContextVar("prunegrid_recorder", default=None)


def open_recorder(recorder: Recorder) -> Token[Recorder | None]:
    """Make `recorder` the one that `probed_sdpa` fills; undo with `close_recorder(token)`."""
    return _open.set(recorder)


def close_recorder(token: Token[Recorder | None]) -> None:
    _open.reset(token)


def probed_sdpa(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """transformers' SDPA attention, unchanged; the open recorder gets its operands if it wants them."""
    recorder = _open.get()
    if recorder is not None and id(module) in recorder.wanted:
        recorder.records[id(module)] = _record(module, query, key, value, attention_mask, kwargs)
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


def _record(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, kwargs: dict[str, Any]
) -> Record:
    repeats = query.shape[1] // key.shape[1]
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    scaling = kwargs.get("scaling")
    return Record(
        query.detach(),
        repeat_kv(key.detach(), repeats),
        repeat_kv(value.detach(), repeats),
        mask,
        kwargs.get("position_bias"),
        query.shape[-1] ** -0.5 if scaling is None else scaling,
        bool(causal and mask is None and query.shape[2] > 1),
    )


AttentionInterface.register(PROBED, probed_sdpa)
AttentionMaskInterface.register(PROBED, sdpa_mask)
