"""What of a model a recipe trains: which weights, at which rates, and how they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import nn

from prunegrid.reduce.families import family_of
from prunegrid.tune import adapters
from prunegrid.tune.adapters import REDUCER, with_adapters
from prunegrid.tune.recipe import Recipe


def open_for(model: Any, recipe: Recipe, own: nn.Module | None = None) -> tuple[Any, dict[str, nn.Parameter]]:
    """(model, name -> what is trained): the model with adapters around it where the recipe says so.

    own: weights of the reducer, trained and kept beside the model's. What is trained is float32 from here on; all
    else is frozen in the dtype that it has. Initial adapters are drawn from torch's generator.
    """
    model.requires_grad_(False)
    if recipe.kind == "lora":
        model = with_adapters(model, recipe.rank, recipe.alpha, recipe.dropout)
    family = family_of(model)
    parts: list[Any] = [family.projector(model)]
    if recipe.fresh:
        for layer in parts[0].children():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    if recipe.kind == "full":
        base = model.get_base_model() if isinstance(model, PeftModel) else model
        parts += [family.decoder(model), base.lm_head]
    for part in parts:
        part.requires_grad_(True)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    found = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if own is not None:
        own.float().requires_grad_(True)
        found |= {REDUCER + n: p for n, p in own.named_parameters()}
    return model, found


def groups(weights: Mapping[str, nn.Parameter], recipe: Recipe) -> list[dict[str, Any]]:
    """Optimiser groups, each with its peak rate: the projector and a reducer's own weights have theirs.

    As transformers' trainer does, biases and norms do not decay.
    """
    side = recipe.projector_rate or recipe.rate
    made: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weight in weights.items():
        rate = side if name.startswith(REDUCER) or "multi_modal_projector" in name else recipe.rate
        made.setdefault((rate, recipe.decay if weight.dim() > 1 else 0.0), []).append(weight)
    return [{"params": p, "lr": r, "peak": r, "weight_decay": d} for (r, d), p in made.items()]


def keep(file: Path, weights: Mapping[str, nn.Parameter], recipe: Recipe) -> None:
    """Write what a recipe has trained: adapters in float32, whole weights in the recipe's dtype."""
    dtype = torch.float32 if recipe.kind == "lora" else getattr(torch, recipe.dtype)
    adapters.keep(file, weights, recipe.kind, recipe.rank, recipe.alpha, dtype)
