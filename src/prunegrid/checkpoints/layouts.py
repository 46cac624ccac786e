"""The ways in which LLaVA's own code lays a checkpoint down, and reading their tensors.

full: everything but the CLIP in one folder, sharded or not (a LoRA merged by LLaVA's script is laid out so, too);
projector: `mm_projector.bin` of stage 1, beside Vicuna; lora: an adapter and `non_lora_trainables.bin`, beside Vicuna.
Source: llava/train/train.py and llava/model/builder.py at c121f043.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

PROJECTOR, EXTRA, ADAPTER = "mm_projector.bin", "non_lora_trainables.bin", "adapter_config.json"
STEMS = ("model", "pytorch_model")
LAYOUTS = f"a config.json with weights, {PROJECTOR}, or {ADAPTER} with adapter_model and {EXTRA}"


class CheckpointError(ValueError):
    """A folder that is no checkpoint of a known layout, or is not whole."""


def layout(folder: Path) -> str:
    """full, projector or lora. CheckpointError names what is there and what was looked for."""
    if (folder / ADAPTER).exists():
        return "lora"
    if any(True for _ in weight_files(folder)):
        return "full"
    if (folder / PROJECTOR).exists():
        return "projector"
    there = ", ".join(sorted(p.name for p in folder.iterdir())) if folder.is_dir() else "no such folder"
    raise CheckpointError(f"{folder}: no layout of LLaVA's ({there or 'empty'}); looked for {LAYOUTS}")


def weight_files(folder: Path) -> Iterator[Path]:
    """The files of a whole model: safetensors before pickles, the index's shards or one file."""
    for stem, suffix in ((s, x) for x in (".safetensors", ".bin") for s in STEMS):
        index = folder / f"{stem}{suffix}.index.json"
        if index.exists():
            try:
                named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
                shards = sorted(set(named))
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise CheckpointError(f"{index} is broken ({error!r}); fetch it again") from error
            if any(Path(name).name != name for name in shards):
                raise CheckpointError(f"{index} names files outside its folder; do not use this checkpoint")
            lost = [name for name in shards if not (folder / name).exists()]
            if lost:
                raise CheckpointError(
                    f"{folder}: {', '.join(lost)} missing, which {index.name} names; fetch again"
                )
            yield from (folder / name for name in shards)
            return
        if (folder / f"{stem}{suffix}").exists():
            yield folder / f"{stem}{suffix}"
            return


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, on the CPU in the type they have. A pickle is read with `weights_only`: no code runs."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        read: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} is cut, or holds more than tensors, and is not read: {first}"
        ) from error
    if not isinstance(read, dict) or not all(isinstance(v, Tensor) for v in read.values()):
        raise CheckpointError(f"{path} holds no plain mapping of names to tensors")
    return read


def whole(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a model's folder."""
    found: dict[str, Tensor] = {}
    for path in weight_files(folder):
        found |= tensors(path)
    if not found:
        raise CheckpointError(f"{folder}: no weights (model*.safetensors or pytorch_model*.bin)")
    return found


def one_of(folder: Path, *names: str) -> Path:
    """The first of several files that is there."""
    found = next((folder / n for n in names if (folder / n).exists()), None)
    if found is None:
        raise CheckpointError(f"{folder}: none of {', '.join(names)} is there; fetch the checkpoint again")
    return found
