"""cluster=slurm: submission through submitit's SlurmExecutor, the rest through Slurm's own clients."""

from __future__ import annotations

import getpass
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from .claims import Claim
from .clients import SUBMIT_S, call
from .command import SnakemakeCommand
from .refusal import SINFO_FORMAT, accounts, partitions
from .sources import Sources
from .states import JobState, Question
from .status import marked_jobs, max_array_size
from .submit import SubmissionError

_DEFAULT_ARRAY = 1000
# submitit counts every signal in the last fifth of the limit as a time-out; the command counts for itself.
_NEVER = 1_000_000


class SlurmCluster:
    """Submits arrays, asks for states and cancels, each with as few calls as possible."""

    name = "slurm"

    def __init__(self, status: str, array_size: int) -> None:
        """status: which source to ask; array_size: most tasks in an array, 0 asks Slurm once."""
        self.sources = Sources(status)
        self._array_size = array_size
        self.submissions = 0

    @property
    def array_limit(self) -> int:
        """Most tasks in one array; asks Slurm the first time unless the user said it."""
        if self._array_size <= 0:
            self._array_size = max_array_size(call(["scontrol", "show", "config"]).out) or _DEFAULT_ARRAY
        return self._array_size

    def submit(
        self,
        folder: Path,
        name: str,
        mark: str,
        parameters: Mapping[str, Any],
        commands: Sequence[SnakemakeCommand],
    ) -> list[str]:
        """Submit the commands as one job or one array; returns their ids in the same order.

        mark: comment by which the submission can be found if sbatch's answer is lost.
        Raises SubmissionError with sbatch's text.
        """
        from submitit import SlurmExecutor

        self.submissions += 1
        try:
            executor = SlurmExecutor(folder, max_num_timeout=_NEVER)
            executor.update_parameters(job_name=name, comment=mark, **parameters)
            handles = executor.submit_array(list(commands))
        except Exception as error:
            raise SubmissionError(str(error).strip() or type(error).__name__) from error
        finally:
            for link in folder.glob(".submission_file_*.sh"):
                link.unlink(missing_ok=True)
        return [str(handle.job_id) for handle in handles]

    def states(self, jobs: Mapping[str, Question]) -> dict[str, JobState]:
        """States of the jobs that Slurm knows; see Sources.states."""
        return self.sources.states(jobs, time.time()) if jobs else {}

    def cancel(self, ids: Collection[str], claims: Mapping[str, Claim | None]) -> None:
        """Cancel all with one scancel. Raises SubmissionError if it fails."""
        if ids:
            answer = call(["scancel", *sorted(ids)], SUBMIT_S)
            if not answer.ok and "Invalid job id" not in answer.err:
                raise SubmissionError(answer.err.strip())

    def withdraw(self, mark: str) -> bool:
        """Cancel what a submission with a lost answer may have left; False if Slurm cannot be asked."""
        answer = call(["squeue", "-h", "-u", getpass.getuser(), "-o", "%A|%k"])
        if not answer.ok:
            return False
        orphans = marked_jobs(answer.out, mark)
        return not orphans or call(["scancel", *orphans], SUBMIT_S).ok

    def offers(self, refusal: str) -> list[str]:
        """The partitions and their nodes; the user's accounts if the refusal is about account or qos."""
        found = partitions(call(["sinfo", "-h", "-o", SINFO_FORMAT]).out)
        if "account" in refusal.lower() or "qos" in refusal.lower():
            user = f"user={getpass.getuser()}"
            shown = call(["sacctmgr", "-n", "-P", "show", "assoc", user, "format=account,partition,qos"])
            found = accounts(shown.out) + found
        return found
