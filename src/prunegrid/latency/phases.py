"""Where the time of one reduced `generate` goes: hooks on the model's parts and a reducer that is timed, inside a `with`.

Phases are disjoint: time that the reducer takes inside the ViT, the projector or the LLM is `reducer`, not theirs. What the
core does for a reducer (attention rows it asked for, gathering survivors) belongs to the phase in which it happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from prunegrid.latency.clock import Clock
from prunegrid.reduce import ReducedVLM

# `other`: assembling the prompt, the head, choosing tokens; what is in `total` and in no other phase.
PHASES = ("preprocess", "vision", "reducer", "projector", "prefill", "decode", "other")


@dataclass
class Span:
    """One stay in a phase, with the stays inside it. `peak`: bytes, of the stays inside not; where the device knows."""

    phase: str
    begin: Any
    end: Any = None
    inner: list[Span] = field(default_factory=list)
    peak: int | None = None


class Timed:
    """A reducer whose own work is a phase. Everything else about it is as it was."""

    def __init__(self, reducer: Any, phase: Callable[[str], Any]) -> None:
        self._reducer, self._phase = reducer, phase

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reducer, name)

    def start(self, *given: Any) -> Any:
        with self._phase("reducer"):
            return self._reducer.start(*given)

    def reduce(self, *given: Any) -> Any:
        with self._phase("reducer"):
            return self._reducer.reduce(*given)

    def edit(self, *given: Any, **named: Any) -> Any:
        with self._phase("reducer"):
            return self._reducer.edit(*given, **named)


class Watch:
    """Watches one `host` while open. `spans` are the outermost stays since the last `clear`, in order."""

    def __init__(self, host: ReducedVLM, clock: Clock, memory: bool = False) -> None:
        self.host, self.clock, self.memory = host, clock, memory
        self.spans: list[Span] = []
        self.prefilled: Any = None  # the moment at which the first pass of the LLM was over
        self._open: list[Span] = []
        self._handles: list[Any] = []
        self._before: Any = None

    def __enter__(self) -> Watch:
        family, model = self.host.family, self.host.model
        self._before = self.host.reducer
        self.host.reducer = Timed(self._before, self.phase)  # type: ignore[assignment]
        self._hook(family.tower(model), lambda: "vision")
        self._hook(family.projector(model), lambda: "projector")
        self._hook(family.decoder(model), self._pass)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.host.reducer = self._before

    def clear(self) -> None:
        self.spans, self.prefilled = [], None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self._begin(name)
        try:
            yield
        finally:
            self._end()

    def _pass(self) -> str:
        """The LLM's first pass is the prefill, every later one a step."""
        return "prefill" if self.prefilled is None else "decode"

    def _hook(self, part: Any, name: Callable[[], str]) -> None:
        self._handles.append(part.register_forward_pre_hook(lambda *_: self._begin(name())))
        self._handles.append(part.register_forward_hook(lambda *_: self._end()))

    def _begin(self, name: str) -> None:
        self._note_peak()
        self._open.append(Span(name, self.clock.mark()))

    def _end(self) -> None:
        self._note_peak()
        span = self._open.pop()
        span.end = self.clock.mark()
        if span.phase == "prefill":
            self.prefilled = span.end
        (self._open[-1].inner if self._open else self.spans).append(span)

    def _note_peak(self) -> None:
        """What was highest since the last change of phase belongs to the phase that ends or is interrupted here."""
        if not self.memory:
            return
        seen = self.clock.peak()
        if self._open and seen is not None:
            self._open[-1].peak = max(seen, self._open[-1].peak or 0)
        self.clock.reset_peak()


def seconds(spans: list[Span], clock: Clock) -> dict[str, list[float]]:
    """phase -> seconds of each stay, inner stays taken out. Call `clock.settle()` before."""
    found: dict[str, list[float]] = {}
    for span in spans:
        within = sum(clock.seconds(s.begin, s.end) for s in span.inner)
        found.setdefault(span.phase, []).append(clock.seconds(span.begin, span.end) - within)
        for name, values in seconds(span.inner, clock).items():
            found.setdefault(name, []).extend(values)
    return found


def peaks(spans: list[Span]) -> dict[str, int]:
    """phase -> highest peak of its stays, bytes; empty where the device does not know."""
    found: dict[str, int] = {}
    for span in spans:
        own = {} if span.peak is None else {span.phase: span.peak}
        for name, peak in (*own.items(), *peaks(span.inner).items()):
            found[name] = max(found.get(name, 0), peak)
    return found
