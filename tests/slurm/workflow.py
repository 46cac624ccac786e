"""A small workflow in a folder, and Snakemake runs in it as separate processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"


class Workflow:
    """A Snakefile and the runs of it."""

    def __init__(self, folder: Path, conf: Path, snakefile: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "Snakefile").write_text(snakefile)
        self._runs: list[Run] = []
        path = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
        bin_folder = str(Path(sys.executable).parent)
        self.env = {
            **os.environ,
            "SLURM_CONF": str(conf),
            "PYTHONPATH": path,
            "PATH": os.pathsep.join([bin_folder, os.environ["PATH"]]),
        }

    def start(self, *flags: str) -> Run:
        """Start Snakemake; the run is not waited for."""
        self._runs.append(Run(self, flags))
        return self._runs[-1]

    def run(self, *flags: str, seconds: float = 120) -> Run:
        """Run Snakemake to its end."""
        run = self.start(*flags)
        run.wait(seconds)
        return run

    def end(self) -> None:
        """Kill all runs."""
        for run in self._runs:
            run.kill()

    def lines(self, name: str) -> list[str]:
        """Lines of a file in the folder, [] if it does not exist."""
        path = self.folder / name
        return path.read_text().split() if path.exists() else []

    def wait_for_lines(self, name: str, count: int, seconds: float = 60) -> None:
        """Wait until a file has so many lines."""
        end = time.monotonic() + seconds
        while len(self.lines(name)) < count:
            self._runs[-1].assert_alive()
            assert time.monotonic() < end, f"{name} has {self.lines(name)}, not {count} lines"
            time.sleep(0.2)


class Run:
    """One Snakemake process and what it prints."""

    def __init__(self, workflow: Workflow, flags: tuple[str, ...]) -> None:
        number = len(list(workflow.folder.glob("run*.txt"))) + 1
        self._path = workflow.folder / f"run{number}.txt"
        command = [sys.executable, "-m", "snakemake", "--executor", "submitit", "--submitit-cluster", "slurm"]
        command += ["--jobs", "100", "--seconds-between-status-checks", "1", "--latency-wait", "5", *flags]
        with self._path.open("wb") as out:
            self._process = subprocess.Popen(
                command,
                cwd=workflow.folder,
                env=workflow.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What the run has printed so far."""
        return self._path.read_text()

    @property
    def job_ids(self) -> list[str]:
        """Slurm ids of the jobs that this run submitted."""
        return re.findall(r"is slurm job (\S+)", self.output)

    def wait(self, seconds: float) -> int:
        """Exit status; a run that takes longer is killed and fails the test."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the run took longer than {seconds} s:\n{self.output}") from None

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Wait until the run has printed a text."""
        end = time.monotonic() + seconds
        while text not in self.output:
            self.assert_alive()
            assert time.monotonic() < end, f"the run never printed {text!r}:\n{self.output}"
            time.sleep(0.1)

    def kill(self) -> None:
        """kill -9 of the head."""
        self._process.kill()
        self._process.wait(10)

    def assert_alive(self) -> None:
        """Fail with the output if the head has ended."""
        assert self._process.poll() is None, self.output

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.kill(self._process.pid, signal.SIGINT)

    def check(self, status: int = 0) -> None:
        """Assert the exit status, showing the output if it is another."""
        assert self._process.poll() == status, self.output
