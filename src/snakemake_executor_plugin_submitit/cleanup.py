"""Files of finished jobs: what is kept and what is removed."""

from __future__ import annotations

import contextlib
import time
import uuid
from pathlib import Path

from .results import submitted_path
from .tasks import Submission


def run_folder(root: Path) -> Path:
    """A new folder for the submitit files of one Snakemake run, so that no old result can be in the way.

    It exists before anything is submitted and has no % in its name: Slurm would not create it for its logs.
    """
    folder = root / f"{time.strftime('%Y-%m-%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"
    folder.mkdir(parents=True)
    return folder


def discard(submission: Submission, keep_log: bool) -> None:
    """Remove the pickles of a job that ended well, and its log unless that is to be kept."""
    files = [submission.result, submitted_path(submission.folder, submission.entry.job_id)]
    for path in [*files, submission.folder / f"{submission.entry.job_id}_submission.sh"]:
        _remove(path)
    if not keep_log:
        _remove(submission.log)


def sweep(folder: Path) -> None:
    """Remove the folder of a run if nothing but array scripts is left in it."""
    with contextlib.suppress(OSError):
        rest = list(folder.iterdir())
        if all(path.name.endswith("_submission.sh") for path in rest):
            for path in rest:
                _remove(path)
            folder.rmdir()


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
