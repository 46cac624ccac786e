"""Another forward for one module instance, until it is undone; and the one forward that is copied: CLIP's layer."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

Undo = Callable[[Callable[[], None]], Any]


def replace_forward(module: nn.Module, forward: Callable[..., Any], undo: Undo) -> None:
    """Give this one instance another forward until `undo` runs; what it had before comes back."""
    before = module.__dict__.get("forward")

    def restore() -> None:
        module.__dict__.pop("forward")
        if before is not None:
            module.__dict__["forward"] = before

    module.__dict__["forward"] = types.MethodType(forward, module)
    undo(restore)


def mid_block(reduce: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """CLIP's encoder layer with a reduction [B, P+N, D] -> [B, P+n, D] between its halves."""

    def forward(layer: Any, hidden: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor:
        mixed, _ = layer.self_attn(
            hidden_states=layer.layer_norm1(hidden), attention_mask=attention_mask, **kwargs
        )
        hidden = reduce(hidden + mixed)
        after: Tensor = hidden + layer.mlp(layer.layer_norm2(hidden))
        return after

    return forward
