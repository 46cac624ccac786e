"""The ledger: which submission computes which outputs, so that a new Snakemake can adopt a killed one's jobs.

One small JSON file per job, written before the job is submitted and again when its id is known; removed
when a head has seen the job end. What is left belongs to a head that died.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One submission.

    key, work, name: see identity.Identity. token: unique mark of this submission.
    cluster: "slurm" or "local"; host: where the head ran; folder: where submitit's files are.
    job_id: the scheduler's id, "" while it is not known. submitted: seconds since 1970, this host's clock.
    born: time of the submitted pickle, file system's clock. log: of all attempts. devices: local GPUs in use.
    """

    key: str
    work: str
    name: str
    token: str
    cluster: str
    host: str
    folder: str
    submitted: float
    job_id: str = ""
    born: float = 0.0
    devices: tuple[str, ...] = ()


class Ledger:
    """The files of one submitit folder."""

    def __init__(self, folder: Path) -> None:
        self._entries = folder / "ledger"
        self._claims = folder / "claims"
        self._entries.mkdir(parents=True, exist_ok=True)
        self._claims.mkdir(parents=True, exist_ok=True)

    def read(self, key: str) -> Entry | None:
        """The submission that last had these outputs, None if there is none or the file is unreadable."""
        try:
            values = json.loads(self.path(key).read_text())
            known = {field.name for field in fields(Entry)}
            entry = Entry(**{name: value for name, value in values.items() if name in known})
        except (OSError, ValueError, TypeError, AttributeError):
            return None
        return Entry(**{**asdict(entry), "devices": tuple(entry.devices)})

    def write(self, entry: Entry) -> None:
        """Replace the entry of the same key; if this process dies, the old or the new one is there, whole.

        Raises OSError if that cannot be written.
        """
        draft = self._entries / f".{entry.key}.{uuid.uuid4().hex}"
        try:
            draft.write_text(json.dumps(asdict(entry)))
            draft.rename(self.path(entry.key))
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    def remove(self, entry: Entry, keep_claim: bool = False) -> None:
        """Forget a submission, unless a newer one took its place; keep_claim leaves its claim file."""
        current = self.read(entry.key)
        if current is not None and current.token == entry.token:
            self.path(entry.key).unlink(missing_ok=True)
        if not keep_claim:
            self.claim(entry.token).unlink(missing_ok=True)

    def path(self, key: str) -> Path:
        """File of an entry."""
        return self._entries / f"{key}.json"

    def claim(self, token: str) -> Path:
        """File by which a submission's job claims the right to compute."""
        return self._claims / f"{token}.json"
