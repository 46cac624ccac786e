"""Times that are compared: calls take turns, and differences and quotients are of one turn.

A machine that slows down slows all calls of a turn; of medians of separate loops nothing could be subtracted.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prunegrid.latency.clock import Clock

NOISE = "not measurable: noise exceeds the difference"


@dataclass(frozen=True)
class Quartiles:
    """The median of some turns, and the first and third quartile."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Quartiles:
        """Raises ValueError for a single value, which has no spread."""
        if len(values) < 2:
            raise ValueError(f"{len(values)} turns show no spread: take at least 2")
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return Quartiles(median, low, high)

    @property
    def spread(self) -> float:
        """The interquartile range."""
        return self.high - self.low

    @property
    def measurable(self) -> bool:
        """Of a difference: whether it is not smaller than its own spread."""
        return self.median != 0 and self.spread <= abs(self.median)


def in_turn(
    calls: Mapping[str, Callable[[], Any]],
    repeats: int,
    clock: Clock,
    warmup: int = 3,
    tick: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of every call in each of `repeats` turns, after `warmup` turns that do not count; tick: after each turn."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(-warmup, repeats):
        for name, call in calls.items():
            clock.settle()
            begin = clock.mark()
            call()
            end = clock.mark()
            clock.settle()
            if turn >= 0:
                taken[name].append(clock.seconds(begin, end))
        tick()
    return taken


def differences(more: Sequence[float], less: Sequence[float]) -> list[float]:
    """more - less, turn by turn."""
    return [a - b for a, b in zip(more, less, strict=True)]


def quotient(over: Sequence[float], under: Sequence[float], factor: float = 1.0) -> Quartiles:
    """factor x over / under, turn by turn; turns whose `under` is 0 are left out."""
    turns = zip(over, under, strict=True)
    return Quartiles.of([factor * a / b for a, b in turns if b])
