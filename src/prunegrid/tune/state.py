"""A tuning that survives: saved every few minutes and when a signal asks for it, resumed where it was.

Only weights, optimiser and step are kept: the rate, the order of the conversations and every random number of a step
are functions of the step, so a resumed run cannot differ in them.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

from prunegrid.tune.errors import TuneError

SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)  # time limit or preemption is near
EXIT_CODE = 75  # EX_TEMPFAIL: saved, run again


class Interrupted(SystemExit):
    """The run was asked to stop and has saved its work; the process ends with EXIT_CODE."""

    def __init__(self, step: int) -> None:
        super().__init__(EXIT_CODE)
        self.step = step


@dataclass
class Stop:
    """Whether a signal has asked this process to save and exit."""

    asked: bool = False


@contextmanager
def listening() -> Iterator[Stop]:
    """Inside, SIGUSR1, SIGUSR2 and SIGTERM set the flag instead of killing. Main thread only."""
    stop = Stop()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.asked = True

    before = {number: signal.signal(number, ask) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class State:
    """The folder of an unfinished tuning, which is no output of any rule. fingerprint: of what is being trained."""

    folder: Path
    fingerprint: str

    @property
    def file(self) -> Path:
        return self.folder / "state.pt"

    @property
    def metrics(self) -> Path:
        """One row per step, written as it is done."""
        return self.folder / "metrics.jsonl"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside, no other process trains this: two would write each row of the curves twice. TuneError if one does.

        What a save left that was killed half-way goes: at 7B it is as large as the state itself.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise TuneError(f"{self.folder}: another process is at this training; wait for it") from error
            except OSError:
                pass  # a file system without locks
            for left in self.folder.glob("*.tmp"):
                left.unlink(missing_ok=True)
            yield

    def save(
        self, step: int, seconds: float, weights: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer
    ) -> None:
        """Atomic and on disk when it returns: a reader finds the old state or the new one. TuneError if it cannot be
        written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "fingerprint": self.fingerprint,
            "step": step,
            "seconds": seconds,
            "weights": {n: w.detach() for n, w in weights.items()},
            "optimiser": optimiser.state_dict(),
        }
        partial = self.file.with_suffix(f".{os.getpid()}.tmp")
        try:
            with partial.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.file)
        except (OSError, RuntimeError) as error:  # torch's own error hides that of the disk
            partial.unlink(missing_ok=True)
            raise TuneError(
                f"{self.file} could not be written ({error.__context__ or error}): make room, then run it again; "
                "it goes on from the save before"
            ) from error

    def resume(
        self, weights: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer, device: str
    ) -> tuple[int, float]:
        """(steps done, seconds that they took), with the weights and the optimiser as they were; (0, 0) at the start.

        Rows of metrics.jsonl behind the saved step are dropped: those steps run again. A state of something else is
        set aside, never mixed in.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.file.exists():
            self._cut(0)
            return 0, 0.0
        try:
            state: dict[str, Any] = torch.load(self.file, weights_only=True, map_location=device)
            known = state["fingerprint"]
        except Exception as error:
            raise TuneError(f"{self.file} cannot be read ({error}); delete it to start afresh") from error
        if known != self.fingerprint:
            self.file.replace(self.file.with_suffix(f".{state['step']}.old"))
            return self.resume(weights, optimiser, device)
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(state["weights"][name])
        optimiser.load_state_dict(state["optimiser"])
        self._cut(int(state["step"]))
        return int(state["step"]), float(state["seconds"])

    def log(self, row: Mapping[str, Any]) -> None:
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def _cut(self, step: int) -> None:
        """Leave the rows of the first `step` steps; a line that was cut while it was written goes too."""
        kept = []
        lines = self.metrics.read_text(encoding="utf-8").splitlines() if self.metrics.exists() else []
        for line in lines:
            try:
                kept += [line] if json.loads(line)["step"] <= step else []
            except ValueError:
                continue
        partial = self.metrics.with_suffix(f".{os.getpid()}.tmp")
        partial.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        partial.replace(self.metrics)
