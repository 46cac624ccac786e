"""Calls of Slurm's command line programs, each with a time limit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

QUERY_S = 30.0
SUBMIT_S = 120.0


@dataclass(frozen=True)
class Answer:
    """What a program said. status is its exit status, or -1 if it could not be run or took too long."""

    status: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        return self.status == 0


def call(command: Sequence[str], seconds: float = QUERY_S) -> Answer:
    """Run a program; never raises for its failure, never takes longer than the given time."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return Answer(-1, "", f"{command[0]} timed out after {seconds:.0f} s")
    except OSError as error:
        return Answer(-1, "", f"{command[0]}: {error}")
    return Answer(done.returncode, done.stdout, done.stderr)


@contextmanager
def submission_environment(extra: Mapping[str, str]) -> Iterator[None]:
    """Environment that submitted jobs inherit: `extra` added, an enclosing job's Slurm variables left out.

    A head that itself runs inside a Slurm job would otherwise hand its own memory and core counts on, which
    srun refuses as contradictory. Secrets reach the job this way and stand in no file of the plugin.
    """
    before = dict(os.environ)
    if "SLURM_JOB_ID" in os.environ:
        kept = {"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_TIME_FORMAT", "SLURM_JWT"}
        for name in [name for name in os.environ if name.startswith(("SLURM_", "SLURMD_", "SRUN_"))]:
            if name not in kept:
                del os.environ[name]
    os.environ.update(extra)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
