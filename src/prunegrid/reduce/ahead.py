"""Attention of an LLM layer that is about to run: its own norm, projections and rotation on what enters it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import repeat_kv

from prunegrid.reduce.probe import Record


@torch.no_grad()
def ahead(decoder: Any, layer: int, hidden: Tensor, position: Tensor, valid: Tensor) -> Record:
    """The LAST token's query and all keys that layer `layer` would form of hidden [B, T, D].

    position, valid [B, T]. Answers query [B, H, 1, Dh] and key [B, H, T, Dh], as PyramidDrop's released code
    scores (6444f30); there are no values. Cost: the layer's key projection once more, 2 T D Hkv Dh.
    """
    block = decoder.layers[layer]
    attention, normed = block.self_attn, block.input_layernorm(hidden)
    cos, sin = (t[:, None] for t in decoder.rotary_emb(hidden, position_ids=position))

    def heads(projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)

    query = _rotate(heads(attention.q_proj(normed[:, -1:])), cos[:, :, -1:], sin[:, :, -1:])
    key = _rotate(heads(attention.k_proj(normed)), cos, sin)
    key = repeat_kv(key, query.shape[1] // key.shape[1])
    return Record(query, key, key[..., :0], valid[:, None, None], None, attention.scaling, False)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE as Llama has it: halves turn against each other. x [B, H, T, Dh], cos, sin [B, 1, T, Dh]."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin
