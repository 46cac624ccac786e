"""Data as data.dvc pins it: fetch one out, verify what lies on disk, remember what was verified."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from prunegrid.grid.data import stamp as stamp_name
from prunegrid.run.files import ResultError, write_json

REMEDY = "restore it with `dvc checkout --force {path}`, or, if the change is meant, `dvc commit data.dvc` and run again"


def pull(root: Path, path: str, md5: str, stamp: Path) -> None:
    """`dvc pull` one out if it is not there, verify it, write the stamp. Raises ResultError with the remedy."""
    if not (root / path).exists():
        command = [sys.executable, "-m", "dvc", "pull", "--quiet", path]
        run = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)
        if run.returncode:
            raise ResultError(
                f"`dvc pull {path}` failed ({run.stderr.strip().splitlines()[-1:] or run.returncode}): "
                "is the remote reachable? (README, section Data)"
            )
    verify(root / path, path, md5)
    write_json(stamp, {"path": path, "md5": md5, "signature": signature(root / path)})


def verify(folder: Path, path: str, md5: str) -> None:
    """Raise ResultError unless `folder` is what data.dvc pins."""
    found = dvc_md5(folder)
    if found != md5:
        raise ResultError(
            f"{path} does not match data.dvc: it is {found}, pinned is {md5}; {REMEDY.format(path=path)}"
        )


def check_unchanged(root: Path, results: Path, data: dict[str, str]) -> None:
    """Before a prediction: what was verified is still there as it was; a cheap look, a full one if in doubt."""
    for path, md5 in data.items():
        folder = root / path
        if not folder.exists():
            raise ResultError(f"{path} is missing; fetch it with `dvc pull {path}`")
        stamp = results / "data" / f"{stamp_name(path)}.json"
        known: dict[str, Any] = json.loads(stamp.read_text(encoding="utf-8")) if stamp.exists() else {}
        if known.get("md5") != md5 or known.get("signature") != signature(folder):
            verify(folder, path, md5)


def signature(folder: Path) -> str:
    """A digest over the name, size and time of change of every file in a folder, without reading them."""
    found = [(p.relative_to(folder).as_posix(), p.stat()) for p in sorted(_files(folder))]
    listed = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in found]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]


def dvc_md5(folder: Path) -> str:
    """The md5 that DVC gives a file or a folder (of the listing of its files' md5s)."""
    if folder.is_file():
        return _md5(folder)
    listing = [{"md5": _md5(p), "relpath": p.relative_to(folder).as_posix()} for p in _files(folder)]
    listing.sort(key=lambda row: row["relpath"])
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


def _files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file()]


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()
