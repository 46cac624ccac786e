"""LLaVA's own layouts -> HuggingFace's LlavaForConditionalGeneration in safetensors, with its processor.

The only place of the project that reads pickles, and it lets them hold tensors alone. A whole model passes through the
CPU's memory: 14 GB for 7B, 26 GB for 13B in half precision.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, CLIPVisionConfig

from prunegrid.checkpoints import layouts
from prunegrid.checkpoints.layouts import CheckpointError
from prunegrid.checkpoints.lora import dtype_of, merge
from prunegrid.checkpoints.processing import IMAGE, processor
from prunegrid.checkpoints.random_weights import empty, materialise_buffers

PAD, MULTIPLE = "<pad>", 64  # as HuggingFace's own checkpoint: the vocabulary padded to a multiple of 64
_PROJECTOR = re.compile(r"(?:^|\.)mm_projector\.(0|2)\.(weight|bias)$")
_TOWER = re.compile(r"^(?:model\.)?vision_tower\.vision_tower\.(?:vision_model\.)?(.+)$")


@dataclass(frozen=True)
class Sources:
    """Folders. `llava`: a checkpoint in one of LLaVA's layouts; `base`: Vicuna, where the layout needs it; `vision`:
    the CLIP, unless the checkpoint holds its own; `tokenizer`: by default that of `llava`, else of `base`."""

    llava: Path
    base: Path | None = None
    vision: Path | None = None
    tokenizer: Path | None = None


def convert(sources: Sources, out: Path) -> str:
    """Write `out`, whole or not at all, and return the layout that was read. Raises CheckpointError."""
    kind = layouts.layout(sources.llava)
    if out.exists() and any(out.iterdir()):
        raise CheckpointError(f"{out} exists already; remove it or name another folder")
    language, projector, own_tower = _read(sources, kind)
    tokenizer = _tokenizer(sources)
    tower, vision = _vision(sources, own_tower)
    text = _text_config(sources, kind, language["lm_head.weight"].shape)
    image, pad = (tokenizer.convert_tokens_to_ids(t) for t in (IMAGE, PAD))
    size = -(-max(len(tokenizer), text["vocab_size"]) // MULTIPLE) * MULTIPLE
    for key in ("model.embed_tokens.weight", "lm_head.weight"):
        language[key] = _grown(language[key], size)
    config = {
        "text_config": {**text, "vocab_size": size, "pad_token_id": pad},
        "vision_config": vision,
        "image_token_index": image,
        "vision_feature_layer": _setting(sources, "mm_vision_select_layer", -2),
        "vision_feature_select_strategy": "default",
        "projector_hidden_act": "gelu",
    }
    model = _assemble(config, _named(language, projector, tower), dtype_of(language))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = pad
    partial = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        model.save_pretrained(partial, max_shard_size="5GB")
        processor(tokenizer, vision["image_size"], vision["patch_size"]).save_pretrained(partial)
        if out.exists():
            out.rmdir()
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return kind


def _read(sources: Sources, kind: str) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """(language model, projector, vision tower if the checkpoint holds one), by their names in LLaVA or CLIP."""
    if kind == "full":
        found = layouts.whole(sources.llava)
    else:
        if sources.base is None:
            raise CheckpointError(
                f"{sources.llava} is a {kind} checkpoint: name the Vicuna under it with --base"
            )
        found = layouts.whole(sources.base)
        if kind == "lora":
            extra = layouts.tensors(layouts.one_of(sources.llava, layouts.EXTRA))
            found = merge(found, sources.llava) | {
                k.removeprefix("base_model.model."): v for k, v in extra.items()
            }
        else:
            found |= layouts.tensors(sources.llava / layouts.PROJECTOR)
    projector = {".".join(m.groups()): v for k, v in found.items() if (m := _PROJECTOR.search(k))}
    tower = {m[1]: v for k, v in found.items() if (m := _TOWER.match(k))}
    rest = {k: v for k, v in found.items() if not _PROJECTOR.search(k) and not _TOWER.match(k)}
    if set(projector) != {"0.weight", "0.bias", "2.weight", "2.bias"}:
        raise CheckpointError(
            f"{sources.llava}: its projector has {sorted(projector) or 'nothing'}; only LLaVA-1.5's mlp2x_gelu is known"
        )
    missing = {"model.embed_tokens.weight", "lm_head.weight"} - set(rest)
    if missing:
        raise CheckpointError(
            f"{sources.llava}: {', '.join(sorted(missing))} missing from its language model"
        )
    return {k: v for k, v in rest.items() if not k.endswith("rotary_emb.inv_freq")}, projector, tower


def _vision(sources: Sources, own: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(weights by their names in a CLIPVisionModel, its configuration)."""
    if sources.vision is None:
        raise CheckpointError(
            f"{sources.llava}: name its CLIP with --vision (a folder of {_setting(sources, 'mm_vision_tower', 'the CLIP')})"
        )
    config = _json(sources.vision / "config.json")
    vision = config.get("vision_config", config)
    vision = {**_vit_defaults(), **vision, "model_type": "clip_vision_model"}
    read = own or {
        k.removeprefix("vision_model."): v
        for k, v in layouts.whole(sources.vision).items()
        if k.startswith(("vision_model.", "embeddings.", "encoder.", "pre_layrnorm", "post_layernorm"))
    }
    return {k: v for k, v in read.items() if k != "embeddings.position_ids"}, vision


def _vit_defaults() -> dict[str, int]:
    names = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "image_size",
        "patch_size",
    )
    default = CLIPVisionConfig()
    return {name: getattr(default, name) for name in names}


def _text_config(sources: Sources, kind: str, head: torch.Size) -> dict[str, Any]:
    """The language model's configuration without what is LLaVA's own; the vocabulary is what the head has."""
    folder = sources.llava if kind == "full" else sources.base
    config = _json(Path(folder or sources.llava) / "config.json")
    own = ("mm_", "tune_mm", "freeze_mm", "image_", "use_mm", "unfreeze_mm", "tokenizer_", "pretrain")
    skip = ("_name_or_path", "architectures", "auto_map", "transformers_version", "torch_dtype", "dtype")
    kept = {k: v for k, v in config.items() if not k.startswith(own) and k not in skip}
    return {**kept, "model_type": "llama", "vocab_size": head[0]}


def _tokenizer(sources: Sources) -> Any:
    """With `<image>` and `<pad>` behind the pieces it has, where HuggingFace's checkpoint has them."""
    tried = [f for f in (sources.tokenizer, sources.llava, sources.base) if f is not None]
    for folder in tried:
        if any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model")):
            break
    else:
        raise CheckpointError(
            f"no tokenizer.json in {', '.join(map(str, tried))}; name a folder with --tokenizer"
        )
    try:
        made = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ImportError, ValueError) as error:
        raise CheckpointError(
            f"{folder}: its tokenizer cannot be read ({str(error).splitlines()[0]}); name a folder that has tokenizer.json "
            "with --tokenizer"
        ) from error
    vocabulary = made.get_vocab()
    for token in (IMAGE, PAD):
        if token not in vocabulary:
            made.add_tokens([token], special_tokens=True)
    made.pad_token, made.padding_side = PAD, "left"
    return made


def _named(
    language: Mapping[str, Tensor], projector: Mapping[str, Tensor], tower: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Every tensor by its name in LlavaForConditionalGeneration."""
    linear = {"0": "linear_1", "2": "linear_2"}
    named = {f"model.vision_tower.{k}": v for k, v in tower.items()}
    for key, value in projector.items():
        layer, _, leaf = key.partition(".")
        named[f"model.multi_modal_projector.{linear[layer]}.{leaf}"] = value
    for key, value in language.items():
        named[key if key == "lm_head.weight" else f"model.language_model.{key.removeprefix('model.')}"] = (
            value
        )
    return named


def _assemble(config: Mapping[str, Any], weights: Mapping[str, Tensor], dtype: torch.dtype) -> Any:
    model = empty(config)
    wanted = {k: v.shape for k, v in model.state_dict().items()}
    lost, extra = sorted(set(wanted) - set(weights)), sorted(set(weights) - set(wanted))
    wrong = [
        f"{k} {tuple(weights[k].shape)} for {tuple(s)}"
        for k, s in wanted.items()
        if k in weights and weights[k].shape != s
    ]
    if lost or extra or wrong:
        raise CheckpointError(
            f"the parts do not fit: {len(lost)} tensors missing {lost[:3]}, {len(extra)} unknown {extra[:3]}, "
            f"{len(wrong)} of another shape {wrong[:3]}; are base and CLIP those that the checkpoint was trained on?"
        )
    model.load_state_dict({k: v.to(dtype).contiguous() for k, v in weights.items()}, assign=True)
    materialise_buffers(model, "cpu")
    model.config.dtype = dtype
    return model.eval()


def _grown(weight: Tensor, size: int) -> Tensor:
    """[vocab, D] -> [size, D]. A new row is the mean of the old ones: its logit is their mean, so it never wins."""
    if size == len(weight):
        return weight
    mean = weight.float().mean(0, keepdim=True).to(weight.dtype)
    return torch.cat([weight, mean.expand(size - len(weight), -1)])


def _setting(sources: Sources, key: str, default: Any) -> Any:
    file = sources.llava / "config.json"
    return _json(file).get(key, default) if file.exists() else default


def _json(file: Path) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is missing or broken ({error}); fetch the checkpoint again") from error
    return read
