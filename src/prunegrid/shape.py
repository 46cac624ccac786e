"""The integers that define a LLaVA-type model: layers, widths, heads, grid. Standard library only.

`ModelShape.from_config` reads a HuggingFace `config.json` (LLaVA-1.5 style keys) and fills in what
HuggingFace would: a saved config may leave out every value that equals its class's default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Defaults of transformers 5.23's configuration classes, by `model_type`.
_VIT_BASE: Mapping[str, int] = {
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "image_size": 224,
    "num_channels": 3,
}
_VISION_DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "clip_vision_model": {**_VIT_BASE, "patch_size": 32},
    "siglip_vision_model": {**_VIT_BASE, "patch_size": 16},
}
_PREFIX_TOKENS: Mapping[str, int] = {"clip_vision_model": 1, "siglip_vision_model": 0}
_DECODER: Mapping[str, int] = {"num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32}
_LLM_DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "llama": {**_DECODER, "intermediate_size": 11008, "vocab_size": 32000},
    "mistral": {**_DECODER, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 32000},
    "qwen2": {**_DECODER, "num_key_value_heads": 32, "intermediate_size": 22016, "vocab_size": 151936},
}
# The tower that LlavaConfig assumes when there is no `vision_config` at all: CLIP ViT-L/14.
_CLIP_L14: Mapping[str, Any] = {
    "model_type": "clip_vision_model",
    "num_hidden_layers": 24,
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "image_size": 336,
    "patch_size": 14,
}


@dataclass(frozen=True)
class VisionShape:
    """A ViT. `selected` counts the layers that run before LLaVA reads the features: -2 of 24 layers is 23."""

    layers: int
    width: int
    heads: int
    ffn: int
    image_size: int  # pixels per side
    patch_size: int  # pixels per side
    channels: int
    prefix: int  # class and register tokens in front of the patches
    prefix_kept: int  # how many of them go on to the projector
    selected: int  # index into hidden_states, 0 = embeddings

    @property
    def side(self) -> int:
        """Patches per side of the grid."""
        return self.image_size // self.patch_size

    @property
    def patches(self) -> int:
        return self.side**2

    @property
    def tokens(self) -> int:
        """Tokens entering the first layer: prefix and patches."""
        return self.prefix + self.patches

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


@dataclass(frozen=True)
class ProjectorShape:
    """LLaVA-1.5's two-layer MLP: inputs -> outputs -> outputs."""

    inputs: int
    outputs: int


@dataclass(frozen=True)
class LLMShape:
    """A gated-MLP decoder with grouped-query attention (kv_heads == heads where there are no groups)."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int


@dataclass(frozen=True)
class ModelShape:
    """A vision tower, a projector and a language model."""

    vision: VisionShape
    projector: ProjectorShape
    llm: LLMShape

    @property
    def visual_tokens(self) -> int:
        """Visual tokens per image that reach the LLM when nothing is reduced."""
        return self.vision.patches + self.vision.prefix_kept

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> "ModelShape":
        """Reads a HuggingFace LLaVA `config.json`.

        Raises ValueError for an unknown tower, an unknown decoder with missing keys, images that are not
        square, and a feature layer out of range.
        """
        tower = config.get("vision_config")
        if tower is None:
            video = {"image_size": 224} if config.get("model_type") == "video_llava" else {}
            tower = {**_CLIP_L14, **video}
        layer = config.get("vision_feature_layer", -2)
        features = [layer] if isinstance(layer, int) else list(layer)
        whole = config.get("vision_feature_select_strategy", "default") == "full"
        vision = _vision(tower, features, whole)
        llm = _llm(config.get("text_config") or {})
        return ModelShape(vision, ProjectorShape(vision.width * len(features), llm.width), llm)


def llava15_7b() -> ModelShape:
    """LLaVA-1.5-7B as the papers count it: CLIP ViT-L/14 at 336 pixels, Vicuna-7B with a vocabulary of 32000.

    HuggingFace's checkpoint pads the vocabulary to 32064.
    """
    return ModelShape.from_config({})


def llava15_13b() -> ModelShape:
    """LLaVA-1.5-13B as the papers count it: the same tower, Vicuna-13B with a vocabulary of 32000."""
    llm = {
        "num_hidden_layers": 40,
        "hidden_size": 5120,
        "num_attention_heads": 40,
        "intermediate_size": 13824,
    }
    return ModelShape.from_config({"text_config": llm})


def _vision(config: Mapping[str, Any], features: list[int], whole: bool) -> VisionShape:
    kind = config.get("model_type", "clip_vision_model")
    if kind not in _PREFIX_TOKENS:
        raise ValueError(f"unknown vision tower {kind!r}; known: {', '.join(sorted(_PREFIX_TOKENS))}")
    values = {**_VISION_DEFAULTS[kind], **config}
    if not isinstance(values["image_size"], int) or not isinstance(values["patch_size"], int):
        raise ValueError(f"only square images and patches: {values['image_size']}, {values['patch_size']}")
    layers = values["num_hidden_layers"]
    return VisionShape(
        layers=layers,
        width=values["hidden_size"],
        heads=values["num_attention_heads"],
        ffn=values["intermediate_size"],
        image_size=values["image_size"],
        patch_size=values["patch_size"],
        channels=values["num_channels"],
        prefix=_PREFIX_TOKENS[kind],
        prefix_kept=_PREFIX_TOKENS[kind] if whole else 0,
        selected=max(_hidden_state(index, layers) for index in features),
    )


def _hidden_state(index: int, layers: int) -> int:
    """`vision_feature_layer` as a non-negative index into the layers + 1 hidden states."""
    resolved = index + layers + 1 if index < 0 else index
    if not 0 <= resolved <= layers:
        raise ValueError(f"vision_feature_layer {index} of a tower with {layers} layers")
    return resolved


def _llm(config: Mapping[str, Any]) -> LLMShape:
    kind = config.get("model_type", "llama")
    values = {**_LLM_DEFAULTS.get(kind, {}), **config}
    missing = sorted(set(_LLM_DEFAULTS["llama"]) - set(values))
    if missing:
        raise ValueError(f"text_config of unknown type {kind!r} lacks {', '.join(missing)}")
    width, heads = values["hidden_size"], values["num_attention_heads"]
    return LLMShape(
        layers=values["num_hidden_layers"],
        width=width,
        heads=heads,
        kv_heads=values.get("num_key_value_heads") or heads,
        head_dim=values.get("head_dim") or width // heads,
        ffn=values["intermediate_size"],
        vocab=values["vocab_size"],
    )
