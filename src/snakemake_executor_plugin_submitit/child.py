"""A shell command in its own session: all of its processes can be signalled and none is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping

import psutil  # here, because an import inside of a signal handler may meet itself half done

_POLL_S = 0.1


def _ignore_save_signal() -> None:
    # Some Slurm set-ups signal the whole process tree. The shell and Snakemake must survive SIGUSR2; a
    # program that wants to save its work installs a handler, which replaces this inherited setting.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


class Child:
    """A running `/bin/sh -c command` and all processes of its session."""

    def __init__(self, command: str, cwd: str, env: Mapping[str, str]) -> None:
        """Start the command; output goes to this process's own stdout and stderr."""
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_ignore_save_signal,
        )

    @property
    def pid(self) -> int:
        """Process id of the shell, which is also the session's id."""
        return self._process.pid

    def poll(self) -> int | None:
        """Exit status of the shell, None while it runs."""
        return self._process.poll()

    def wait(self, seconds: float | None = None) -> int | None:
        """Exit status, or None if the shell still runs after the given time.

        Polls instead of blocking: Popen.wait holds a lock that would blind a signal handler's poll().
        """
        end = None if seconds is None else time.monotonic() + seconds
        while (status := self.poll()) is None and (end is None or time.monotonic() < end):
            time.sleep(_POLL_S)
        return status

    def signal(self, number: int) -> None:
        """Send a signal to every process of the session."""
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def members(self) -> list[int]:
        """Living processes of the session; zombies, which some containers never reap, do not count."""
        return session_members(self.pid)

    def stop(self, term_s: float) -> None:
        """SIGTERM to all, SIGKILL to what is left after term_s seconds."""
        self.signal(signal.SIGTERM)
        end = time.monotonic() + term_s
        while self.members() and time.monotonic() < end:
            self.poll()
            time.sleep(_POLL_S / 2)
        self.signal(signal.SIGKILL)
        self.wait(2.0)


def session_members(session: int) -> list[int]:
    """Ids of the living, non-zombie processes of a session on this machine."""
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        with contextlib.suppress(OSError, psutil.Error):
            if process.info["status"] != psutil.STATUS_ZOMBIE and os.getsid(process.info["pid"]) == session:
                found.append(process.info["pid"])
    return found
