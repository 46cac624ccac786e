"""Tiny LLaVA models, and the same weights laid down as LLaVA's own code does; names are spelled out here anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

WORDS = [
    "<unk>",
    "<s>",
    "</s>",
    *["USER", ":", "ASSISTANT", "what", "colour", "is", "the", "car", "?", "red", "blue"],
]
VISION: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
    "image_size": 12, "patch_size": 4, "projection_dim": 16,
}  # fmt: skip
TEXT: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "vocab_size": len(WORDS), "rms_norm_eps": 1e-5, "max_position_embeddings": 64,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
IMAGE = len(WORDS)  # the id that a converted model's `<image>` gets


def model(seed: int = 0) -> LlavaForConditionalGeneration:
    """What every layout below holds; its image token is an id of its own, so its vocabulary is one larger."""
    torch.manual_seed(seed)
    made = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(**VISION),
            text_config=LlamaConfig(**TEXT | {"vocab_size": IMAGE + 1}),
            image_token_index=IMAGE,
            vision_feature_layer=-2,
            vision_feature_select_strategy="default",
        )
    )
    for weight in made.parameters():
        weight.data.normal_(std=0.3)
    return made.eval()


def language(made: LlavaForConditionalGeneration) -> dict[str, Tensor]:
    """Vicuna's part by its names in LlamaForCausalLM, without the image token's rows."""
    found = {f"model.{k}": v.clone() for k, v in made.model.language_model.state_dict().items()}
    found["lm_head.weight"] = made.lm_head.weight.data[:IMAGE].clone()
    found["model.embed_tokens.weight"] = found["model.embed_tokens.weight"][:IMAGE].clone()
    return found


def projector(made: LlavaForConditionalGeneration, prefix: str) -> dict[str, Tensor]:
    part = made.model.multi_modal_projector
    layers = {"0": part.linear_1, "2": part.linear_2}
    return {
        f"{prefix}mm_projector.{n}.{leaf}": getattr(layer, leaf).data.clone()
        for n, layer in layers.items()
        for leaf in ("weight", "bias")
    }


def save_clip(made: LlavaForConditionalGeneration, folder: Path) -> Path:
    """The whole CLIP, as OpenAI's repository has it: LLaVA's tower and a text tower."""
    text = CLIPTextConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=9
    )
    clip = CLIPModel(
        CLIPConfig(text_config=text.to_dict(), vision_config=CLIPVisionConfig(**VISION).to_dict())
    )
    clip.vision_model.load_state_dict(made.model.vision_tower.state_dict())
    clip.save_pretrained(folder)
    return folder


def save_tokenizer(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    made = Tokenizer(WordLevel({w: n for n, w in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)


def save_config(folder: Path, **more: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    own = {
        "architectures": ["LlavaLlamaForCausalLM"], "model_type": "llava_llama", "mm_vision_tower": "openai/clip",
        "mm_vision_select_layer": -2, "mm_projector_type": "mlp2x_gelu", "mm_hidden_size": 16, "use_mm_proj": True,
        "image_aspect_ratio": "pad", "tokenizer_model_max_length": 64, "torch_dtype": "float16",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps({**TEXT, **own, **more}), encoding="utf-8")


def save_weights(weights: dict[str, Tensor], folder: Path, kind: str, shards: int = 1) -> None:
    """As save_pretrained of transformers 4 wrote them: one file, or shards with an index. `kind`: bin, safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = "pytorch_model" if kind == "bin" else "model"
    save = torch.save if kind == "bin" else save_file
    if shards == 1:
        save(weights, folder / f"{stem}.{kind}")
        return
    names, placed = list(weights), {}
    for n in range(shards):
        file = f"{stem}-{n + 1:05d}-of-{shards:05d}.{kind}"
        part = {k: weights[k] for k in names[n::shards]}
        save(part, folder / file)
        placed |= dict.fromkeys(part, file)
    (folder / f"{stem}.{kind}.index.json").write_text(json.dumps({"weight_map": placed}), encoding="utf-8")


def save_base(weights: dict[str, Tensor], folder: Path) -> Path:
    """A Vicuna: language model, tokenizer, configuration of its own."""
    save_weights(weights, folder, "bin", shards=2)
    save_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps({**TEXT, "model_type": "llama"}), encoding="utf-8")
    return folder


def logits(made: LlavaForConditionalGeneration, words: str = "what colour is the car ?") -> Tensor:
    """[T, words]: of a prompt with one picture, over the words that both vocabularies have."""
    ids = [1, WORDS.index("USER"), *[IMAGE] * 9, *(WORDS.index(w) for w in words.split())]
    picture = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return made(input_ids=torch.tensor([ids]), pixel_values=picture).logits[0, :, :IMAGE]
