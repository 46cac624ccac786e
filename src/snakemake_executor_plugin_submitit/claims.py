"""A claim file decides whether a submitted job may compute: the first to create it wins.

A job claims its token when it starts. A new head that cannot tell whether an earlier submission reached
the scheduler voids the token first; whatever starts later with that token then refuses to compute.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path


class Superseded(RuntimeError):
    """This submission was replaced by another one and must not compute."""


@dataclass(frozen=True)
class Claim:
    """Who computes a submission: scheduler job id, host, process ids, start (seconds since 1970)."""

    job_id: str
    host: str = ""
    pid: int = 0
    session: int = 0  # session of the job's own processes, 0 before they start
    started: float = 0.0

    @classmethod
    def here(cls, job_id: str) -> Claim:
        """A claim by this process."""
        host = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
        return cls(job_id, host, os.getpid(), 0, time.time())


VOID = "void"  # job id of a claim that a head made to stop a submission


def read_claim(path: Path) -> Claim | None:
    """The claim in a file, None if there is none."""
    try:
        return Claim(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None


def take(path: Path, claim: Claim) -> Claim:
    """Create the claim atomically; returns the one that holds, which may be somebody else's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path, claim)
    try:
        os.link(draft, path)  # fails if the file exists, also over NFS
    except FileExistsError:
        return read_claim(path) or claim
    finally:
        draft.unlink()
    return claim


def replace(path: Path, claim: Claim) -> None:
    """Overwrite a claim that is ours (a requeued attempt, or the session id becoming known)."""
    _draft(path, claim).rename(path)


def void(path: Path) -> Claim | None:
    """Stop a submission before it starts; returns the job's claim if it was faster, else None."""
    holder = take(path, Claim(VOID))
    return None if holder.job_id == VOID else holder


def revoke(path: Path) -> None:
    """Stop a submission for good: even a requeued attempt of a job that has run will refuse to compute."""
    replace(path, Claim(VOID))


def start_work(path: Path, job_id: str) -> Claim:
    """Claim the right to compute for this process; a requeued job finds its own earlier claim.

    Raises Superseded if the token was voided or belongs to another job.
    """
    mine = Claim.here(job_id)
    holder = take(path, mine)
    if holder.job_id != job_id:
        what = "was voided by a newer Snakemake" if holder.job_id == VOID else f"runs as job {holder.job_id}"
        raise Superseded(f"job {job_id} does not start: its submission {path.stem} {what}")
    if holder != mine:
        replace(path, mine)
    return mine


def _draft(path: Path, claim: Claim) -> Path:
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(draft.unlink, missing_ok=True)
        draft.write_text(json.dumps(asdict(claim)))
        cleanup.pop_all()
    return draft
