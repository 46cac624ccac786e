"""A job that is killed in the middle, as the kernel or a cluster does it: nobody is told, nothing is cleaned up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grid.project import Project
from prunegrid.run.files import Files
from prunegrid.run.main import main

from . import lab

SLOW = '''
import os, time
from dataclasses import dataclass
from prunegrid.reduce.methods.random import Random

@dataclass(frozen=True)
class Slow(Random):
    """As slow as the environment says, with answers that do not depend on it."""

    def reduce(self, site, view, state):
        time.sleep(float(os.environ.get("SLEEP", "0")))
        return super().reduce(site, view, state)
'''
OPTION = "# A slow method of the tests.\nname: slow\n_target_: dawdling.Slow\nkeep: 5\n"
ENOUGH = 120  # seconds until the first batch is answered, on any machine


def partial_rows(files: Files) -> int:
    file = files.prediction / "partial.jsonl"
    return max(0, len(file.read_bytes().splitlines()) - 1) if file.exists() else 0


def killed_after(batches: int, project: Project, files: Files, words: list[str]) -> int:
    """Start a prediction of batches of two, kill -9 it once so many are stored; gives the rows left behind."""
    command = [sys.executable, "-m", "prunegrid", *words]
    path = f"{project.root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    job = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path, "SLEEP": "1"})
    ends = time.monotonic() + ENOUGH
    while partial_rows(files) < 2 * batches and job.poll() is None and time.monotonic() < ends:
        time.sleep(0.02)
    job.send_signal(signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL
    return partial_rows(files)


def test_a_prediction_that_was_killed_ends_with_the_bytes_of_an_undisturbed_one(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("dawdling.py", SLOW)
    project.write("conf/reducer/slow.yaml", OPTION)
    monkeypatch.setenv("PRUNEGRID_PACKAGES", "dawdling")
    monkeypatch.syspath_prepend(str(project.root))
    (cell,) = lab.cells(lab.study(project, "slow", size=2))
    files, elsewhere = Files.of(project.results, cell), tmp_path / "undisturbed"
    whole = Files.of(elsewhere, cell)
    path = str(files.cell / "cell.yaml")
    root = ["--root", str(project.root)]
    assert main([*root, "--results", str(elsewhere), "predict", path, "--device", "cpu"]) == 0
    asked = len(whole.records.read_bytes().splitlines())
    left = killed_after(1, project, files, [*root, "predict", path, "--device", "cpu"])
    assert 2 <= left < asked
    assert not files.records.exists() and not files.trace.exists() and not files.provenance.exists()
    stored = (files.prediction / "partial.jsonl").read_bytes()
    assert main([*root, "predict", path, "--device", "cpu"]) == 0
    assert files.records.read_bytes() == whole.records.read_bytes()
    assert files.trace.read_bytes() == whole.trace.read_bytes()
    assert f'"asked": {asked - left}' in (files.prediction / "timing.json").read_text(encoding="utf-8")
    assert len(stored.splitlines()) == 1 + left
