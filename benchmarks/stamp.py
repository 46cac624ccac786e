"""What every benchmark prints beside its figures: the machine that they are of, and when they were taken."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def stamp(device: str = "cpu") -> dict[str, Any]:
    """As `prunegrid latency` writes it. Imports torch: call it behind what a torch in memory would slow."""
    from prunegrid.latency import machine

    return {**machine(device), "taken": datetime.now(UTC).isoformat(timespec="seconds")}
