"""A tiny CLIP beside the tiny LLaVA, and its prompts as text: token 57 is the word "w57", which CLIP reads as w, 5, 7."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig, PreTrainedTokenizerFast

from prunegrid.reduce import PromptText, TextTower

WORDS = ["<s>", "</s>", "?", "w", *"0123456789"]
BEGIN, END = 0, 1
JOINT = 16  # width of the joint space


def tokenizer() -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="?"))
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("", behavior="isolated")]
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="?")


def build(vision: CLIPVisionConfig, seed: int = 5) -> CLIPModel:
    """Random weights for a vision tower of this configuration."""
    torch.manual_seed(seed)
    text = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=BEGIN,
        eos_token_id=END,
        pad_token_id=END,
    )
    model = CLIPModel(
        CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=JOINT)
    ).eval()
    for weight in (*model.text_model.parameters(), *model.vision_model.post_layernorm.parameters()):
        if weight.dim() > 1:
            weight.data.mul_(6)
        else:
            weight.data.add_(torch.randn(weight.shape) / 4)  # norms that do something
    return model


def raw(model: Any) -> CLIPModel:
    """The whole CLIP beside a model, the same for every model with the same vision tower."""
    return _raw(model.config.vision_config.to_json_string())


@cache
def _raw(vision: str) -> CLIPModel:
    return build(CLIPVisionConfig(**json.loads(vision)))


def tower(model: Any) -> TextTower:
    """Its text tower, as reducers get it."""
    return TextTower(raw(model), tokenizer())


def told(inputs: Mapping[str, Tensor], image: int) -> list[PromptText]:
    """The user says all that stands behind the picture, but for the last word."""
    prompts = []
    for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"].bool(), strict=True):
        text, spans, start = "", [], 0
        for token in ids[mask].tolist():
            if token == image:
                start = len(text)
                continue
            spans.append((len(text), len(text) + len(f"w{token}")))
            text += f"w{token} "
        prompts.append(PromptText(text, tuple(spans), (start, spans[-1][0])))
    return prompts
