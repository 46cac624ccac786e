"""What was trained, kept by name as safetensors and put back into a fresh model. No training here: predictions use it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from prunegrid.tune.errors import TuneError

# Every linear layer of the language model, as find_all_linear_names of llava/train/train.py at c121f043 picks them.
LORA_TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
REDUCER = "reducer."  # names of a reducer's own weights start so


def with_adapters(model: Any, rank: int, alpha: float, dropout: float) -> Any:
    """The model inside PEFT, its adapters drawn from torch's generator."""
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=LORA_TARGETS)  # type: ignore[arg-type]
    return get_peft_model(model, config)


def keep(
    file: Path, weights: Mapping[str, Tensor], kind: str, rank: int, alpha: float, dtype: torch.dtype
) -> None:
    """Write what was trained in `dtype`, and how it goes back in. Atomic."""
    tensors = {n: w.detach().to("cpu", dtype).contiguous() for n, w in weights.items()}
    how = {"kind": kind, "rank": rank, "alpha": alpha}
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    save_file(tensors, partial, metadata={"tuning": json.dumps(how)})
    partial.chmod(0o644)  # safetensors leaves files that their owner alone may read
    partial.replace(file)


def put_in(model: Any, file: Path, own: nn.Module | None = None) -> Any:
    """The model with what `file` holds: adapters merged into its weights, whole weights replaced; `own` likewise.

    Raises TuneError unless file and model hold the same names and shapes: half a tuning is none.
    """
    how, kept = _read(file)
    mine = {n.removeprefix(REDUCER): t for n, t in kept.items() if n.startswith(REDUCER)}
    theirs = {n: t for n, t in kept.items() if not n.startswith(REDUCER)}
    if mine or own is not None:
        _fill({} if own is None else dict(own.named_parameters()), mine, file)
    if how["kind"] == "lora":
        model = with_adapters(model, how["rank"], how["alpha"], 0.0)
    trained = {n: p for n, p in model.named_parameters() if n in theirs or ".lora_" in n}
    _fill(trained, theirs, file)
    return model.merge_and_unload() if how["kind"] == "lora" else model


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(file, "pt") as opened:
            how = json.loads((opened.metadata() or {})["tuning"])
            names = opened.keys()
            return how, {name: opened.get_tensor(name) for name in names}
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise TuneError(f"{file} is missing or no tuning ({error}); run its rule `tune` again") from error


def _fill(there: Mapping[str, nn.Parameter], kept: Mapping[str, Tensor], file: Path) -> None:
    if wrong := set(there) ^ set(kept) or {n for n in kept if kept[n].shape != there[n].shape}:
        raise TuneError(
            f"{file} does not fit this model: {', '.join(sorted(wrong)[:3])}; tune this model anew"
        )
    with torch.no_grad():
        for name, weight in there.items():
            weight.copy_(kept[name].to(weight.device))
