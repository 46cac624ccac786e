"""The picture as a whole: its class token, for reducers that act inside the language model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prunegrid.reduce.families import Family


@dataclass(frozen=True)
class Picture:
    """The class token of each picture, of the run as it was reduced; without gradients.

    read [B, C]: at the layer that LLaVA reads. last [B, C]: behind the ViT's last layer, before CLIP's final norm and
    projection (`TextTower.image`). projected [B, D]: `read` through LLaVA's projector.
    """

    read: Tensor
    last: Tensor
    projected: Tensor


class PictureSide:
    """Notes the class token at two ViT layers during one encoding pass."""

    def __init__(self, model: Any, family: Family) -> None:
        if family.prefix == 0:
            raise ValueError("this vision tower has no class token to hand over (Site.picture)")
        self.projector = family.projector(model)
        layers = family.vision_layers(model)
        self._seen: dict[str, Tensor] = {}
        self._layers = {"read": layers[family.feature_source(model)], "last": layers[-1]}

    def install(self, undo: Callable[[Callable[[], None]], Any]) -> None:
        """Register both hooks; their removal is handed to `undo`."""
        for name, layer in self._layers.items():
            undo(layer.register_forward_hook(self._note(name)).remove)

    def _note(self, name: str) -> Callable[[nn.Module, tuple, Tensor], None]:
        def hook(_module: nn.Module, _args: tuple, output: Tensor) -> None:
            self._seen[name] = output[:, 0].detach().clone()  # a slice would keep all tokens in memory

        return hook

    @torch.no_grad()
    def taken(self) -> Picture:
        """What was noted. The projector's class computes, not the module: its hooks and stand-ins are for patches."""
        read = self._seen["read"]
        projected: Tensor = type(self.projector).forward(self.projector, read[:, None])[:, 0]
        return Picture(read, self._seen["last"], projected)
