"""ModelShape against HuggingFace's own reading of the same config, and against the published shapes."""

import json
from typing import Any

import pytest

from prunegrid.shape import LLMShape, ModelShape, llava15_7b, llava15_13b

# The keys that llava-hf/llava-1.5-13b-hf states; everything else is a class default.
LLAVA_13B = {
    "model_type": "llava",
    "text_config": {
        "hidden_size": 5120,
        "intermediate_size": 13824,
        "model_type": "llama",
        "num_attention_heads": 40,
        "num_hidden_layers": 40,
        "num_key_value_heads": 40,
        "vocab_size": 32064,
    },
    "vision_config": {
        "hidden_size": 1024,
        "image_size": 336,
        "intermediate_size": 4096,
        "model_type": "clip_vision_model",
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "patch_size": 14,
    },
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
}


def test_llava15_7b_is_the_published_shape() -> None:
    shape = llava15_7b()
    vision = shape.vision
    assert (vision.layers, vision.width, vision.heads, vision.head_dim, vision.ffn) == (
        24,
        1024,
        16,
        64,
        4096,
    )
    assert (vision.side, vision.patches, vision.prefix, vision.tokens) == (24, 576, 1, 577)
    assert vision.selected == 23, "-2 is the output of the 23rd layer"
    assert (shape.projector.inputs, shape.projector.outputs) == (1024, 4096)
    assert shape.llm == LLMShape(32, 4096, 32, 32, 128, 11008, 32000)
    assert shape.visual_tokens == 576


def test_llava15_13b_is_the_published_shape() -> None:
    assert llava15_13b().llm == LLMShape(40, 5120, 40, 40, 128, 13824, 32000)
    read = ModelShape.from_config(LLAVA_13B)
    assert read.llm == LLMShape(40, 5120, 40, 40, 128, 13824, 32064)
    assert read.vision == llava15_13b().vision and read.projector == llava15_13b().projector


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ({"model_type": "mistral"}, (8, 14336)),
        ({"model_type": "qwen2", "num_attention_heads": 28, "num_key_value_heads": 4}, (4, 22016)),
        ({"hidden_size": 5120, "num_attention_heads": 40}, (40, 11008)),
    ],
)
def test_missing_decoder_keys_take_the_class_defaults(
    text: dict[str, Any], expected: tuple[int, int]
) -> None:
    llm = ModelShape.from_config({"text_config": text}).llm
    assert (llm.kv_heads, llm.ffn) == expected


def test_feature_layers_resolve() -> None:
    assert ModelShape.from_config({"vision_feature_layer": -1}).vision.selected == 24
    assert ModelShape.from_config({"vision_feature_layer": 7}).vision.selected == 7
    several = ModelShape.from_config({"vision_feature_layer": [-2, -5]})
    assert several.vision.selected == 23 and several.projector.inputs == 2048
    full = ModelShape.from_config({"vision_feature_select_strategy": "full"})
    assert full.visual_tokens == 577
    with pytest.raises(ValueError, match="24 layers"):
        ModelShape.from_config({"vision_feature_layer": 25})


def test_siglip_has_no_prefix_and_unknown_parts_are_refused() -> None:
    tower = {"model_type": "siglip_vision_model", "image_size": 384, "patch_size": 14}
    vision = ModelShape.from_config({"vision_config": tower, "vision_feature_select_strategy": "full"}).vision
    assert (vision.prefix, vision.prefix_kept, vision.side, vision.tokens) == (0, 0, 27, 729)
    with pytest.raises(ValueError, match="pixtral"):
        ModelShape.from_config({"vision_config": {"model_type": "pixtral"}})
    with pytest.raises(ValueError, match="num_hidden_layers"):
        ModelShape.from_config({"text_config": {"model_type": "mamba", "hidden_size": 64}})
    with pytest.raises(ValueError, match="square"):
        ModelShape.from_config({"vision_config": {"image_size": [224, 336]}})


def test_a_saved_mini_config_reads_as_huggingface_reads_it() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=96, num_attention_heads=6, num_hidden_layers=6, image_size=96, patch_size=8
        ),
        text_config=transformers.LlamaConfig(
            hidden_size=128, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=16
        ),
        vision_feature_layer=-3,
    )
    shape = ModelShape.from_config(json.loads(config.to_json_string(use_diff=True)))
    vision, text = config.vision_config, config.text_config
    assert (shape.vision.layers, shape.vision.width, shape.vision.heads) == (6, 96, 6)
    assert (shape.vision.ffn, shape.vision.side, shape.vision.selected) == (vision.intermediate_size, 12, 4)
    read = (shape.llm.kv_heads, shape.llm.head_dim, shape.llm.ffn, shape.llm.vocab)
    assert read == (2, 16, text.intermediate_size, text.vocab_size)
