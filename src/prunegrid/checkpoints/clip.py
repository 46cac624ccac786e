"""The whole CLIP as safetensors: OpenAI's repository may hold a pickle, which no job reads."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel

from prunegrid.checkpoints import layouts
from prunegrid.checkpoints.layouts import CheckpointError


def convert_clip(source: Path, out: Path) -> None:
    """The whole CLIP of `source`, pickled or not, as safetensors with its tokenizer and picture processor."""
    config = CLIPConfig.from_pretrained(source, local_files_only=True)
    with torch.device("meta"):
        clip = CLIPModel(config)
    weights = {k: v for k, v in layouts.whole(source).items() if not k.endswith("position_ids")}
    lost = sorted(set(clip.state_dict()) - set(weights))
    if lost:
        raise CheckpointError(f"{source}: no whole CLIP, {len(lost)} tensors missing {lost[:3]}")
    clip.load_state_dict({k: weights[k].contiguous() for k in clip.state_dict()}, assign=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        clip.save_pretrained(partial)
        for file in (*source.glob("*.json"), *source.glob("merges.txt")):
            if file.name not in (
                "config.json",
                "model.safetensors.index.json",
                "pytorch_model.bin.index.json",
            ):
                shutil.copy2(file, partial / file.name)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
