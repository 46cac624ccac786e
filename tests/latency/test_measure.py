"""Phases are disjoint and complete, what is timed is what was meant, and nothing stays on the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from prunegrid.latency import PHASES, Watch, kernels, machine, measure, spread
from prunegrid.latency.clock import HostClock
from prunegrid.latency.phases import peaks, seconds
from prunegrid.reduce import Place, ReducedVLM, Reducer, Reduction, TokenView
from reduce.lab import Plan, at, even, fixed, plan, tiny

MOST = 1_000  # of the counted moments below


class Steps(HostClock):
    """Every look at the clock is one second later; every phase peaks at the number of looks."""

    def __init__(self) -> None:
        self.now, self.resets = 0, 0

    def mark(self) -> float:
        self.now += 1
        assert self.now < MOST
        return float(self.now)

    def reset_peak(self) -> None:
        self.resets += 1

    def peak(self) -> int:
        return self.now


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny()


def ask(host: ReducedVLM, new: int = 3) -> Tensor:
    return host.generate(even(), ids=["a", "b"], max_new_tokens=new, do_sample=False)[0]


def prepared(i: int) -> dict[str, Any]:
    return {"inputs": even(i), "ids": ["a", "b"]}


def test_every_part_is_seen_once_and_every_step(model: Any) -> None:
    host, clock = ReducedVLM(model, plan((at(Place.FEATURES), fixed(0, 5, 7)))), Steps()
    with Watch(host, clock) as watch:
        ask(host, new=4)
    found = seconds(watch.spans, clock)
    assert {name: len(values) for name, values in found.items()} == {
        "reducer": 2,  # start, and one site
        "vision": 1,
        "projector": 1,
        "prefill": 1,
        "decode": 3,  # the first of four tokens comes from the prefill
    }


def test_a_reducers_time_is_not_its_places(model: Any) -> None:
    """A slow reducer inside the ViT and inside the LLM: its seconds are `reducer`, the places keep their own."""
    for place in (Place.VISION, Place.PROMPT):
        clock = Steps()

        def slow(view: TokenView, clock: Steps = clock) -> Reduction:
            clock.now += 100
            return fixed(0, 1, 2, 3)(view)  # type: ignore[return-value]

        host = ReducedVLM(model, plan((at(place, 1), slow)))
        with Watch(host, clock) as watch:
            ask(host)
        found = seconds(watch.spans, clock)
        assert sum(found["reducer"]) > 100
        assert all(sum(v) < 100 for name, v in found.items() if name != "reducer")


def test_phases_add_up_to_the_whole(model: Any) -> None:
    host = ReducedVLM(model, plan((at(Place.PROMPT, 1), fixed(0, 1))))
    made, traces = measure(host, prepared, new_tokens=3, repeats=1, warmup=1)
    assert sum(made[phase]["median"] for phase in PHASES) == pytest.approx(made["total"]["median"])
    assert 0 < made["first"]["median"] < made["total"]["median"]
    assert made["memory"] is None  # a host's allocator keeps no peak
    assert traces[0].prompt[0][2] == traces[0].prompt[0][0] - 14


def test_warm_up_is_run_and_left_out(model: Any) -> None:
    asked: list[int] = []

    def prepare(i: int) -> dict[str, Any]:
        asked.append(i)
        return prepared(i)

    ticks: list[int] = []
    measure(ReducedVLM(model, Reducer()), prepare, 1, repeats=3, warmup=2, tick=lambda: ticks.append(1))
    assert asked == [0, 0, 0, 1, 2]
    assert len(ticks) == 5


def test_one_new_token_has_no_step(model: Any) -> None:
    made, _ = measure(ReducedVLM(model, Reducer()), prepared, 1, repeats=1, warmup=0)
    assert made["step"] is None
    assert made["decode"]["median"] == 0


@pytest.mark.parametrize("said", [{"repeats": 0}, {"new_tokens": 0}, {"warmup": -1}])
def test_what_cannot_be_measured_is_refused(said: dict[str, int], model: Any) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(said))}={next(iter(said.values()))}"):
        measure(ReducedVLM(model, Reducer()), prepared, **said)


def test_answers_of_another_length_are_refused(model: Any) -> None:
    class Short(ReducedVLM):
        def generate(self, *args: Any, **more: Any) -> Any:
            tokens, trace = super().generate(*args, **more)
            return tokens[:, :1], trace

    with pytest.raises(RuntimeError, match="1 tokens were said, not 3"):
        measure(Short(model, Reducer()), prepared, 3, repeats=1, warmup=0)


def hooks(model: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("broken", [False, True])
def test_nothing_stays_behind(broken: bool, model: Any) -> None:
    def breaks(view: TokenView) -> Reduction:
        raise RuntimeError("no")

    act: Callable[..., Any] = breaks if broken else fixed(0)
    reducer: Plan = plan((at(Place.PROMPT, 1), act))
    host, before = ReducedVLM(model, reducer), hooks(model)
    alone = None if broken else ask(ReducedVLM(model, reducer))
    try:
        with Watch(host, Steps()):
            assert hooks(model) > before
            again = ask(host)
            assert broken or torch.equal(again, alone)  # type: ignore[arg-type]
    except RuntimeError:
        assert broken
    assert hooks(model) == before
    assert host.reducer is reducer


def test_peaks_are_by_phase(model: Any) -> None:
    host, clock = ReducedVLM(model, Reducer()), Steps()
    with Watch(host, clock, memory=True) as watch:
        ask(host)
    found = peaks(watch.spans)
    assert set(found) == {"reducer", "vision", "projector", "prefill", "decode"}
    assert found["vision"] < found["projector"] < found["prefill"] < found["decode"]
    assert clock.resets == 12  # at both ends of start, tower, projector, prefill and two steps


class Bytes(HostClock):
    """A device whose highest use since the last reset is known."""

    high = 0

    def use(self, size: int) -> None:
        self.high = max(self.high, size)

    def reset_peak(self) -> None:
        self.high = 0

    def peak(self) -> int:
        return self.high


@pytest.mark.parametrize(("before", "within", "after"), [(9, 4, 2), (2, 4, 9), (2, 9, 4), (9, 2, 4)])
def test_a_phase_keeps_its_peak_while_another_interrupts_it(
    before: int, within: int, after: int, model: Any
) -> None:
    """The first layers of a prefill hold all tokens, the reducer comes later."""
    clock = Bytes()
    with Watch(ReducedVLM(model, Reducer()), clock, memory=True) as watch, watch.phase("prefill"):
        clock.use(before)
        with watch.phase("reducer"):
            clock.use(within)
        clock.use(after)
    assert peaks(watch.spans) == {"prefill": max(before, after), "reducer": within}


def test_spread() -> None:
    found = spread([5, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11])
    assert found == {"median": 6, "p10": 2, "p90": 10, "least": 1}
    assert spread([3]) == {"median": 3, "p10": 3, "p90": 3, "least": 3}


def test_what_it_ran_on(model: Any) -> None:
    seen = machine("cpu")
    assert seen["name"] and seen["threads"] == torch.get_num_threads()
    assert any("scaled_dot_product" in n for n in kernels(lambda: ask(ReducedVLM(model, Reducer()))))
