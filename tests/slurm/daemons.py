"""Background programs of a cluster, started and ended by process id."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .packages import ClusterError


class Daemons:
    """Starts programs that log into a folder; their process ids stand in `<folder>/pids`."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._env = dict(env)
        self._list = folder / "pids"

    def start(self, *command: str, log: str = "") -> int:
        """Start a program in the background; returns its process id."""
        with (self._folder / f"{log or command[0]}.out").open("ab") as out:
            process = subprocess.Popen(
                command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with self._list.open("a") as file:
            file.write(f"{process.pid}\n")
        return process.pid

    def run(self, *command: str, seconds: float = 120) -> str:
        """Output of a program that ends by itself. Raises ClusterError with what it said."""
        try:
            done = subprocess.run(
                command,
                env=self._env,
                check=True,
                capture_output=True,
                text=True,
                timeout=seconds,
                stdin=subprocess.DEVNULL,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise ClusterError(f"{command[0]}: {error.stderr or error}") from error
        return done.stdout

    def end_all(self) -> None:
        """End what was started, the newest first."""
        with contextlib.suppress(FileNotFoundError):
            for pid in reversed([int(line) for line in self._list.read_text().split()]):
                end(pid)
            self._list.unlink()


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition; a client that fails or hangs counts as not yet. Raises ClusterError."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        with contextlib.suppress(subprocess.SubprocessError, ClusterError):
            if condition():
                return
        time.sleep(0.2)
    raise ClusterError(f"{what}: not in {seconds:.0f} s")


def end(pid: int) -> None:
    """SIGTERM, then SIGKILL after 5 s, to a process that this class started."""
    for number, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 2.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if not alive(pid):
                return
            time.sleep(0.1)


def alive(pid: int) -> bool:
    """Whether a process runs; a child of ours that has ended is reaped on the way."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
