"""Which GPUs a local job sees: submitit's local twin would give every job GPU 0."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Mapping

_DRIVER_S = 20.0


class GpuPool:
    """Hands out the GPUs of this machine, each to as few jobs at a time as possible."""

    def __init__(self, find: Callable[[], tuple[str, ...]]) -> None:
        """find: names the GPUs (numbers or UUIDs); called once, when the first job asks for one."""
        self._find = find
        self._load: Counter[str] | None = None

    def take(self, count: int) -> tuple[str, ...]:
        """The least used GPUs; fewer than asked for if the machine has fewer."""
        if count <= 0:
            return ()
        if self._load is None:
            self._load = Counter(dict.fromkeys(self._find(), 0))
        chosen = tuple(sorted(self._load, key=lambda name: self._load[name])[:count])  # type: ignore[index]
        self._load.update(chosen)
        return chosen

    def occupy(self, names: tuple[str, ...]) -> None:
        """Count the GPUs of an adopted job as in use."""
        if names and self._load is None:
            self._load = Counter(dict.fromkeys(self._find(), 0))
        if self._load is not None:
            self._load.update(name for name in names if name in self._load)

    def give_back(self, names: tuple[str, ...]) -> None:
        """Free the GPUs of a job that ended."""
        if self._load is not None:
            self._load.subtract(name for name in names if name in self._load)


def visible_gpus(environ: Mapping[str, str], list_gpus: Callable[[], int]) -> tuple[str, ...]:
    """GPUs that this process may use: CUDA_VISIBLE_DEVICES if it is set, else all that the driver lists."""
    given = environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return tuple(str(number) for number in range(list_gpus()))
    return tuple(name.strip() for name in given.split(",") if name.strip() not in ("", "-1"))


def count_gpus() -> int:
    """Number of GPUs that nvidia-smi lists; 0 if it is missing or does not answer in time."""
    return _listed() or 0


def gpu_state(environ: Mapping[str, str]) -> str:
    """What a job can see of GPUs, for the message of a job that failed."""
    listed = _listed()
    driver = "nvidia-smi gives no answer" if listed is None else f"nvidia-smi lists {listed} GPU(s)"
    return f"CUDA_VISIBLE_DEVICES={environ.get('CUDA_VISIBLE_DEVICES', 'not set')}, {driver}"


def _listed() -> int | None:
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=_DRIVER_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines()) if done.returncode == 0 else None
