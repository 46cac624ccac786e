"""Moments on a device's own clock."""

from __future__ import annotations

import time
from typing import Any, Protocol

import torch


class Clock(Protocol):
    """`mark()` is cheap and never waits; `seconds` may be asked only after `settle()`."""

    def mark(self) -> Any: ...
    def settle(self) -> None: ...
    def seconds(self, begin: Any, end: Any) -> float: ...
    def reset_peak(self) -> None: ...
    def peak(self) -> int | None: ...


class HostClock:
    """CPU: everything has happened when the call returns."""

    def mark(self) -> float:
        return time.perf_counter()

    def settle(self) -> None:
        return None

    def seconds(self, begin: float, end: float) -> float:
        return end - begin

    def reset_peak(self) -> None:
        return None

    def peak(self) -> int | None:
        """None: the host's allocator keeps no peak that could be reset."""
        return None


class CudaClock:
    """CUDA events in the current stream: what the device spent between two marks, idle gaps included."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def settle(self) -> None:
        torch.cuda.synchronize(self.device)

    def seconds(self, begin: torch.cuda.Event, end: torch.cuda.Event) -> float:
        return begin.elapsed_time(end) / 1000

    def reset_peak(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> int | None:
        """Bytes; the allocator counts when memory is asked for, so nothing has to be waited for."""
        return torch.cuda.max_memory_allocated(self.device)


def clock_of(device: str | torch.device) -> Clock:
    found = torch.device(device)
    return CudaClock(found) if found.type == "cuda" else HostClock()
