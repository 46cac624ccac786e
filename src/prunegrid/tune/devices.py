"""Several devices: each takes its share of a step's micro-batches, gradients are summed. One process: nothing happens.

`accelerate launch --multi_gpu` and `torchrun` start the processes; the result is that of one device up to the order of
the sum, because order, dropout seeds and the loss are defined per step and not per device.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import torch
from torch import distributed, nn


def join(device: str) -> str:
    """Join the other processes, if a launcher started any; the device that this one works on."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device.startswith("cuda"):
        torch.cuda.set_device(local)
        device = f"cuda:{local}"
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return device


def world() -> int:
    return distributed.get_world_size() if _many() else 1


def rank() -> int:
    return distributed.get_rank() if _many() else 0


def summed(values: Sequence[float], device: str) -> list[float]:
    """Each value summed over the processes."""
    if not _many():
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return [float(v) for v in total]


def any_of(flag: bool, device: str) -> bool:
    """Whether any process says so: they must leave together."""
    return summed([float(flag)], device)[0] > 0


def sum_gradients(weights: Iterable[nn.Parameter]) -> None:
    """In place; a weight that no process used keeps no gradient."""
    if not _many():
        return
    for weight in weights:
        used = torch.tensor(float(weight.grad is not None), device=weight.device)
        distributed.all_reduce(used)
        if used > 0:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            distributed.all_reduce(weight.grad)


def _many() -> bool:
    return distributed.is_available() and distributed.is_initialized()
