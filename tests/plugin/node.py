"""A node without a scheduler: commands in real processes, started as submitit starts them."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from submitit.core.utils import DelayedSubmission

from snakemake_executor_plugin_submitit import claims
from snakemake_executor_plugin_submitit.command import SnakemakeCommand
from snakemake_executor_plugin_submitit.results import read_outcome, result_path, submitted_path

REQUEUE = 144  # exit status by which submitit's local twin asks to be started again

# A program that saves its work on SIGUSR2 and resumes from it.
TRAINER = """
import os, signal, sys, time
def save(number, frame):
    open("saved", "a").write("x")
    sys.exit({status})
signal.signal(signal.SIGUSR2, save)
open("started", "a").write(os.environ["SNAKEMAKE_SUBMITIT_RESTARTS"])
if os.path.exists("saved"):
    sys.exit(0)
time.sleep(60)
"""


class Node:
    """Runs a command as job 77 the way submitit does, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def command(self, text: str, **more: Any) -> SnakemakeCommand:
        values = {"label": "rule-x", "token": "mine", "claim": str(self.folder / "claim.json"), **more}
        return SnakemakeCommand(text, str(self.folder), **values)

    def trainer(self, status: int = 3) -> str:
        (self.folder / "trainer.py").write_text(TRAINER.format(status=status))
        return f"{sys.executable} trainer.py; status=$?; echo end; exit $status"

    def submit(self, command: SnakemakeCommand) -> None:
        delayed = DelayedSubmission(command)
        delayed.set_timeout(60, 1_000_000)
        delayed.dump(submitted_path(self.folder, "77"))

    def start(self, **env: str) -> "subprocess.Popen[bytes]":
        local = {
            "JOB_ID": "77",
            "NTASKS": "1",
            "JOB_NUM_NODES": "1",
            "NODEID": "0",
            "GLOBALID": "0",
            "LOCALID": "0",
        }
        job = {
            "SUBMITIT_EXECUTOR": "local",
            **{f"SUBMITIT_LOCAL_{name}": value for name, value in local.items()},
        }
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-u", "-m", "submitit.core._submit", str(self.folder)],
                env={**os.environ, **job, **env},
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def wait_for(self, name: str, text: str, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            path = self.folder / name
            if path.exists() and text in path.read_text():
                return
            time.sleep(0.05)
        log = (self.folder / "log").read_text()
        raise AssertionError(f"{name} never contained {text!r}; log:\n{log}")

    def outcome(self):
        return read_outcome(result_path(self.folder, "77"), "mine", 0.0)

    def session(self) -> int:
        claim = claims.read_claim(self.folder / "claim.json")
        return claim.session if claim else 0
