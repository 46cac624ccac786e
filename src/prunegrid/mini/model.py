"""The mini model's shape, in HuggingFace's own classes: a CLIP (vision and text tower) and a LLaVA on its vision tower."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from prunegrid.mini.language import EOS, IMAGE, TEMPLATE, tokenizer, words
from prunegrid.mini.scenes import SIZE

WIDTH, HEAD, PATCH = 128, 32, 8  # hidden size of both towers, head size, patch side in px
VISION_LAYERS, TEXT_LAYERS, LLM_LAYERS = 6, 3, 6
FEATURE_LAYER = -2  # LLaVA-1.5's choice
SIDE = SIZE // PATCH  # patches per side
PATCHES = SIDE * SIDE


def clip_config() -> CLIPConfig:
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=VISION_LAYERS,
        num_attention_heads=WIDTH // HEAD,
        image_size=SIZE,
        patch_size=PATCH,
        projection_dim=WIDTH,
    )
    text = CLIPTextConfig(
        vocab_size=len(words()),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=WIDTH // HEAD,
        max_position_embeddings=77,
        projection_dim=WIDTH,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=words().index(EOS),
    )
    return CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=WIDTH)


def llava_config(vision: CLIPVisionConfig) -> LlavaConfig:
    text = LlamaConfig(
        vocab_size=len(words()),
        hidden_size=WIDTH,
        intermediate_size=352,
        num_hidden_layers=LLM_LAYERS,
        num_attention_heads=WIDTH // HEAD,
        num_key_value_heads=WIDTH // HEAD,
        max_position_embeddings=1024,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=words().index(EOS),
        tie_word_embeddings=True,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=words().index(IMAGE),
        vision_feature_layer=FEATURE_LAYER,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )


def build() -> tuple[CLIPModel, LlavaForConditionalGeneration]:
    """Both models, freshly initialised from torch's generator; the LLaVA's vision tower IS the CLIP's."""
    config = clip_config()
    clip = CLIPModel(config)
    llava = LlavaForConditionalGeneration(llava_config(config.vision_config))  # type: ignore[arg-type]
    llava.model.vision_tower = clip.vision_model
    clip.set_attn_implementation("sdpa")
    llava.model.language_model.set_attn_implementation("sdpa")
    return clip, llava


def processor() -> LlavaProcessor:
    """The picture and text processor: 96 px, no crop, CLIP's mean and deviation."""
    image = CLIPImageProcessorPil(
        size={"height": SIZE, "width": SIZE}, do_resize=True, do_center_crop=False, do_convert_rgb=True
    )
    return LlavaProcessor(
        image_processor=image,
        tokenizer=tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token=IMAGE,
        chat_template=None,
    )


def save(clip: CLIPModel, llava: LlavaForConditionalGeneration, folder: Path) -> None:
    """Write `folder/llava` and `folder/clip` as any HuggingFace checkpoint (bfloat16 safetensors)."""
    made = processor()
    for name, model in (("llava", llava), ("clip", clip)):
        half = deepcopy(model)
        half.bfloat16()
        half.save_pretrained(folder / name)
    made.save_pretrained(folder / "llava")
    made.tokenizer.save_pretrained(folder / "clip")
    made.image_processor.save_pretrained(folder / "clip")
    (folder / "llava" / "prompt.txt").write_text(TEMPLATE, encoding="utf-8")
