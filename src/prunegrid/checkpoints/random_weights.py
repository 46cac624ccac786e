"""A LLaVA of any shape with random weights: no download, the same on every machine, seconds for 7B.

For cost, memory, latency and for trying a grid; its answers mean nothing. The model is built on the meta device and
filled tensor by tensor in its own dtype, so that no float32 copy ever exists.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlavaConfig, LlavaForConditionalGeneration, PreTrainedModel

STD = 0.02  # LLaMA's and CLIP's own initialisation
BLOCK = 1_048_583  # a prime: rows of a tensor repeat its values at ever different places


def empty(values: Mapping[str, Any]) -> LlavaForConditionalGeneration:
    """The model of a HuggingFace configuration (plain mapping), on the meta device: shapes, no memory."""
    with torch.device("meta"):
        return LlavaForConditionalGeneration(LlavaConfig(**values))


def random_llava(
    values: Mapping[str, Any], seed: int, dtype: torch.dtype, device: str
) -> LlavaForConditionalGeneration:
    """The model of a HuggingFace configuration with weights drawn from `seed`, in `dtype` on `device`, ready to answer.

    Norms are one, biases zero, everything else normal with deviation 0.02. What a tensor holds depends on the seed and
    its name alone: neither on the device nor on the order of tensors.
    """
    model = empty(values)
    norms = {
        f"{name}.weight" for name, module in model.named_modules() if "norm" in type(module).__name__.lower()
    }
    for name, parameter in list(model.named_parameters()):
        kind = "one" if name in norms else "zero" if name.endswith(".bias") else "normal"
        _replace(model, name, _filled(kind, name, parameter.shape, seed, dtype).to(device))
    materialise_buffers(model, device)
    text: Any = model.config.text_config
    model.generation_config.eos_token_id = text.eos_token_id
    model.generation_config.pad_token_id = text.pad_token_id
    return model.eval()


def materialise_buffers(model: PreTrainedModel, device: str) -> None:
    """Buffers that no checkpoint holds (rotary frequencies, position numbers) from meta to their values."""
    owners = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if name == "position_ids":
                value = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)
            else:
                value = torch.empty(buffer.shape, dtype=buffer.dtype, device=device)
            module.register_buffer(name, value, persistent=False)
        if hasattr(module, "original_inv_freq"):
            owners[0]._init_weights(module)


def _filled(kind: str, name: str, shape: torch.Size, seed: int, dtype: torch.dtype) -> Tensor:
    if kind != "normal":
        return torch.full(shape, 1.0 if kind == "one" else 0.0, dtype=dtype)
    size = shape.numel()
    number = int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "big") >> 1
    block = torch.randn(min(size, BLOCK), generator=torch.Generator().manual_seed(number)).mul_(STD).to(dtype)
    # Whole blocks side by side: drawing every value of 7B anew would take minutes.
    return block.repeat(-(-size // BLOCK))[:size].view(shape) if size > BLOCK else block.view(shape)


def _replace(model: nn.Module, name: str, value: Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, nn.Parameter(value, requires_grad=False))
