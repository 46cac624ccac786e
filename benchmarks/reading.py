"""A CLIP text tower with random weights, and prompts to read: for benchmarks of methods that read the question."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig

from prunegrid.mini.language import tokenizer
from prunegrid.reduce import PromptText, ReducedVLM, Reducer, TextTower

JOINT = 768


def host(model: Any, reducer: Reducer) -> ReducedVLM:
    """The model with a reducer, which gets a text tower if it reads."""
    return ReducedVLM(model, reducer, text=tower(model) if reducer.reads_text else None)


def tower(model: Any) -> TextTower:
    """In fp32 beside the model, as wide and deep to its vision tower as CLIP-L/336's is: 3/4 and 1/2."""
    vision = model.config.vision_config
    text = CLIPTextConfig(
        hidden_size=vision.hidden_size * 3 // 4,
        intermediate_size=vision.hidden_size * 3,
        num_attention_heads=vision.num_attention_heads * 3 // 4,
        num_hidden_layers=vision.num_hidden_layers // 2,
    )
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=JOINT)
    torch.manual_seed(0)
    clip: Any = CLIPModel(config).eval().requires_grad_(False)
    clip.vision_model.encoder = None  # only its last norm is needed
    return TextTower(clip.to(model.device), tokenizer())


def told(ids: Tensor, image: int) -> list[PromptText]:
    """ids [B, T] without padding -> as many words as there are text tokens; the user said those behind the picture."""
    prompts = []
    for row in ids.tolist():
        spans = [(8 * i, 8 * i + 7) for i in range(len(row) - row.count(image))]
        start = 8 * (row.index(image) if image in row else 0)
        prompts.append(PromptText("picture " * len(spans), tuple(spans), (start, 8 * len(spans))))
    return prompts
