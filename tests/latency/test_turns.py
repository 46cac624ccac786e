"""Calls that are compared take turns, and noise is called noise: on a clock that the calls themselves move."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from prunegrid.latency import Quartiles, differences, in_turn, quotient
from prunegrid.latency.clock import HostClock


class Moved(HostClock):
    """Stands still but for the calls that it makes, each of which takes its seconds times how slow the machine is."""

    def __init__(self, slow: Callable[[float], float] = lambda now: 1.0) -> None:
        self.now, self.slow, self.made = 0.0, slow, ""

    def mark(self) -> float:
        return self.now

    def call(self, name: str, *seconds: float) -> Callable[[], None]:
        """Takes one of `seconds` after the other, over and over."""
        turns = self._over(seconds)

        def made() -> None:
            self.made += name
            self.now += next(turns) * self.slow(self.now)

        return made

    @staticmethod
    def _over(seconds: tuple[float, ...]) -> Iterator[float]:
        while True:
            yield from seconds


def test_calls_take_turns_and_warm_up_is_left_out() -> None:
    clock, ticks = Moved(), []
    calls = {"a": clock.call("a", 9.0, 1.0, 2.0), "b": clock.call("b", 9.0, 5.0, 7.0)}
    found = in_turn(calls, 2, clock, warmup=1, tick=lambda: ticks.append(1))
    assert clock.made == "ababab" and len(ticks) == 3
    assert found == {"a": [1, 2], "b": [5, 7]}


def test_a_machine_that_slows_down_does_not_touch_what_is_compared() -> None:
    """Four times slower from one third on: of medians of loops one after the other the difference is negative."""

    def slow(now: float) -> float:
        return 4.0 if now > 100 else 1.0

    clock = Moved(slow)
    t = in_turn({"whole": clock.call("w", 3.0), "part": clock.call("p", 2.0)}, 40, clock, warmup=0)
    assert quotient(t["whole"], t["part"]).median == pytest.approx(1.5)
    found = Quartiles.of(differences(t["whole"], t["part"]))
    assert 1 <= found.low <= found.high <= 4
    alone = Moved(slow)
    whole, part = (in_turn({n: alone.call(n, s)}, 40, alone, 0)[n] for n, s in (("w", 3.0), ("p", 2.0)))
    assert Quartiles.of(differences(whole, part)).median < 0


def test_quartiles() -> None:
    assert Quartiles.of([5, 1, 4, 2, 3]) == Quartiles(3, 2, 4)
    assert Quartiles.of([1, 2]).spread == 0.5
    with pytest.raises(ValueError, match="1 turns show no spread"):
        Quartiles.of([1.0])


@pytest.mark.parametrize(
    ("values", "measurable"),
    [
        ([1.0, 1.0, 1.0], True),
        ([1.0, 2.0, 3.0], True),
        ([-1.0, 1.0, 3.0], False),  # 1 +- 1
        ([-3.0, -2.0, -1.0], True),  # faster, and surely so
        ([0.0, 0.0, 0.0], False),
    ],
)
def test_a_difference_smaller_than_its_spread_is_noise(values: list[float], measurable: bool) -> None:
    assert Quartiles.of(values).measurable is measurable


def test_quotients_are_of_one_turn() -> None:
    assert quotient([2, 40, 6], [1, 20, 3]) == Quartiles(2, 2, 2)
    assert quotient([2, 4], [1, 2], factor=8) == Quartiles(16, 16, 16)
    assert quotient([6, 1, 4], [3, 0, 2]) == Quartiles(2, 2, 2)
    with pytest.raises(ValueError, match="shorter"):
        quotient([1, 1], [1])
