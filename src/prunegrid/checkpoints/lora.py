"""A LoRA adapter merged into the weights under it: W + (alpha / r) B A. Source: arXiv:2106.09685, equation 3."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from prunegrid.checkpoints.layouts import ADAPTER, CheckpointError, one_of, tensors

_NAME = re.compile(r"^(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.default)?\.weight$")
# Options of PEFT that change what an adapter means; the values that plain LoRA has.
PLAIN = {"use_dora": False, "fan_in_fan_out": False, "bias": "none", "modules_to_save": None, "rank_pattern": {},
         "alpha_pattern": {}, "layer_replication": None}  # fmt: skip


def merge(weights: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """`weights` with the adapter in `folder` merged in, in the weights' own types (the product is float32).

    CheckpointError for an adapter that is no plain LoRA, is incomplete, or names weights that are not there.
    """
    settings = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    for key, plain in PLAIN.items():
        if settings.get(key, plain) not in (plain, None):
            raise CheckpointError(
                f"{folder / ADAPTER}: {key}={settings[key]!r} is not supported, only {plain!r}"
            )
    rank = settings["r"]
    scale = settings["lora_alpha"] / (rank**0.5 if settings.get("use_rslora") else rank)
    pairs = _pairs(tensors(one_of(folder, "adapter_model.safetensors", "adapter_model.bin")), folder)
    merged = dict(weights)
    for name, pair in pairs.items():
        key = f"{name}.weight"
        if key not in weights:
            raise CheckpointError(f"{folder}: the adapter changes {key}, which the base model does not have")
        change = scale * (pair["B"].float() @ pair["A"].float())
        if change.shape != weights[key].shape:
            raise CheckpointError(
                f"{folder}: the adapter's {name} is {tuple(change.shape)}, the base's {tuple(weights[key].shape)}"
            )
        merged[key] = (weights[key].float() + change).to(weights[key].dtype)
    return merged


def _pairs(adapter: Mapping[str, Tensor], folder: Path) -> dict[str, dict[str, Tensor]]:
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, value in adapter.items():
        found = _NAME.match(key)
        if not found:
            raise CheckpointError(f"{folder}: {key} is no LoRA weight; only plain adapters are merged")
        pairs.setdefault(found[1], {})[found[2]] = value
    torn = [name for name, pair in pairs.items() if set(pair) != {"A", "B"}]
    if torn or not pairs:
        raise CheckpointError(f"{folder}: the adapter is not whole: {torn[:3] or 'it is empty'}")
    return dict(sorted(pairs.items()))


def dtype_of(weights: Mapping[str, Tensor]) -> torch.dtype:
    """The type that most of the weights' numbers have."""
    counts: dict[torch.dtype, int] = {}
    for value in weights.values():
        counts[value.dtype] = counts.get(value.dtype, 0) + value.numel()
    return max(counts, key=lambda kind: counts[kind])
