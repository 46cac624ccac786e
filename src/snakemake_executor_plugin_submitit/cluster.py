"""What the plugin needs from a cluster, and the choice of one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from .claims import Claim
from .clients import Answer, call
from .command import SnakemakeCommand
from .local import LocalCluster
from .slurm import SlurmCluster
from .states import JobState, Question


class Cluster(Protocol):
    """A place to run jobs; SlurmCluster and LocalCluster are the two there are."""

    name: str

    @property
    def array_limit(self) -> int:
        """Most jobs in one submission."""

    def submit(
        self,
        folder: Path,
        name: str,
        mark: str,
        parameters: Mapping[str, Any],
        commands: Sequence[SnakemakeCommand],
    ) -> list[str]:
        """Submit all commands together; returns their ids. Raises SubmissionError."""

    def states(self, jobs: Mapping[str, Question]) -> dict[str, JobState]:
        """States of jobs by id; unknown jobs are left out."""

    def cancel(self, ids: Collection[str], claims: Mapping[str, Claim | None]) -> None:
        """End jobs. Raises SubmissionError."""

    def withdraw(self, mark: str) -> bool:
        """Take back what a failed submission may have left; False if that is not possible now."""

    def offers(self, refusal: str) -> list[str]:
        """Lines about what can be asked for, for a user whose submission was refused with this text."""


def cluster_name(
    choice: str,
    which: Callable[[str], str | None] = shutil.which,
    run: Callable[[Sequence[str]], Answer] = call,
) -> str:
    """The cluster for the setting auto, slurm or local.

    auto means slurm where Slurm's programs are installed and configured; a controller that is down at the
    moment does not turn a login node into a place to compute on.
    """
    if choice != "auto":
        return choice
    if which("srun") is None or "configuration source" in run(["scontrol", "ping"]).err:
        return "local"
    return "slurm"


def make_cluster(name: str, status: str, array_size: int) -> Cluster:
    """The cluster of a name. Raises ValueError if its programs are missing."""
    if name == "local":
        return LocalCluster()
    missing = [program for program in ("sbatch", "srun", "scancel") if shutil.which(program) is None]
    if missing:
        raise ValueError(f"cluster=slurm needs {', '.join(missing)} in PATH; is this a login node?")
    return SlurmCluster(status, array_size)
