"""The project's files in a folder of their own, and its workflow run there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def clone(folder: Path) -> Path:
    """Every file that git knows, as it stands now; the data are fetched by the workflow itself."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.exists():
            target.write_bytes(source.read_bytes())
    subprocess.run(["git", "-C", str(folder), "init", "-q"], check=True)
    return folder


def snakemake(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--profile", "workflow/profiles/ci", *words]
    return run(folder, command, **environment)


def prunegrid(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(folder, [sys.executable, "-m", "prunegrid", *words], **environment)


def run(folder: Path, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    inside = {**os.environ, "PYTHONPATH": f"{folder / 'src'}:{folder}", **environment}
    return subprocess.run(
        command, cwd=folder, env=inside, capture_output=True, text=True, timeout=900, check=False
    )
