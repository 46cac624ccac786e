"""What a measurement ran on: the machine, its clocks, and the kernels that attention took."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

ATTENTION = ("attention", "flash", "fmha", "sdpa", "cudnn_attention")


def machine(device: str | torch.device) -> dict[str, Any]:
    """Name, memory, clocks seen now, and the versions that decide which kernels exist."""
    found = torch.device(device)
    common = {"device": found.type, "torch": torch.__version__, "threads": torch.get_num_threads()}
    if found.type != "cuda":
        return {**common, "name": _cpu(), "cores": torch.get_num_threads(), "clock_mhz": _cpu_clock()}
    props = torch.cuda.get_device_properties(found)
    return {
        **common,
        "name": props.name,
        "memory": props.total_memory,
        "capability": f"{props.major}.{props.minor}",
        "cuda": torch.version.cuda,
        "clock_mhz": _gpu_clock(found),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cpu_clock() -> float | None:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    seen = [float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz")]
    return max(seen, default=None)


def _gpu_clock(device: torch.device) -> int | None:
    """None where the driver's library is not there or will not say."""
    try:
        return int(torch.cuda.clock_rate(device))
    except (RuntimeError, ModuleNotFoundError, AttributeError):
        return None


def kernels(call: Callable[[], Any]) -> list[str]:
    """Names of the attention operators and kernels that `call` ran, sorted."""
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as seen:
        call()
    names = {event.key for event in seen.key_averages()}
    return sorted(n for n in names if any(word in n.lower() for word in ATTENTION))
