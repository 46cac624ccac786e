"""Where the parts of each model family are. Adding a family = adding an entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Family:
    """Accessors of one family; `model` is the ...ForConditionalGeneration, or what PEFT wraps around it."""

    name: str
    prefix: int  # tokens before the patches in the vision tower (CLS)
    core: Callable[[Any], Any]  # the model without its head
    tower: Callable[[Any], Any]
    vision_layers: Callable[[Any], Sequence[Any]]
    projector: Callable[[Any], nn.Module]
    decoder: Callable[[Any], Any]  # the language model without its head
    feature_layer: Callable[[Any], int]  # index into hidden_states (0 = embeddings)
    image_token: Callable[[Any], int]
    hand_over: Callable[[list[Tensor]], Any]  # per-image features -> what mm_encoder_outputs holds

    def llm_layers(self, model: Any) -> Sequence[Any]:
        layers: Sequence[Any] = self.decoder(model).layers
        return layers

    def feature_source(self, model: Any) -> int:
        """The ViT layer whose output LLaVA reads; -1 = the embeddings."""
        layers = len(self.vision_layers(model))
        index = self.feature_layer(model)
        return (index + layers + 1 if index < 0 else index) - 1


def _core(model: Any) -> Any:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return base.model


def _feature_layer(model: Any) -> int:
    config = _core(model).config
    layer = config.vision_feature_layer
    if not isinstance(layer, int):
        raise ValueError(
            f"vision_feature_layer={layer}: features of several layers are not supported, give one"
        )
    if config.vision_feature_select_strategy != "default":
        strategy = config.vision_feature_select_strategy
        raise ValueError(
            f"vision_feature_select_strategy={strategy!r} is not supported: CLS is not a patch to reduce"
        )
    return layer


LLAVA = Family(
    name="llava",
    prefix=1,
    core=_core,
    tower=lambda model: _core(model).vision_tower,
    vision_layers=lambda model: _core(model).vision_tower.encoder.layers,
    projector=lambda model: _core(model).multi_modal_projector,
    decoder=lambda model: _core(model).language_model,
    feature_layer=_feature_layer,
    image_token=lambda model: _core(model).config.image_token_id,
    hand_over=lambda features: features,
)
FAMILIES: Mapping[str, Family] = MappingProxyType({"llava": LLAVA})


def family_of(model: Any) -> Family:
    """The family by `config.model_type`; an unknown one is an error that lists what exists."""
    kind = _core(model).config.model_type
    if kind not in FAMILIES:
        raise ValueError(f"model family {kind!r} is not supported; known: {', '.join(FAMILIES)}")
    return FAMILIES[kind]
