"""A small workflow in a folder, and Snakemake runs in it as separate processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .spies import put_spies

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
INTERVAL_S = 1  # between polling rounds
_PATIENCE_S = 500.0  # far more than needed, for machines that do much else


class Workflow:
    """A Snakefile and the runs of it, by the project's own profile `slurm`."""

    def __init__(self, folder: Path, conf: Path, snakefile: str = "") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        if snakefile:
            (folder / "Snakefile").write_text(snakefile)
            (folder / "slurm").symlink_to(ROOT / "workflow/profiles/slurm")
        self._runs: list[Run] = []
        spies = put_spies(folder / "spies")
        source = folder / "src" if (folder / "src").is_dir() else SOURCE
        path = os.pathsep.join(filter(None, [str(source), os.environ.get("PYTHONPATH")]))
        self.env = {
            **{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},  # slow starts
            "SLURM_CONF": str(conf),
            "PYTHONPATH": path,
            "PATH": os.pathsep.join([str(spies), str(Path(sys.executable).parent), os.environ["PATH"]]),
        }

    def start(self, *flags: str) -> Run:
        """Start Snakemake; the run is not waited for."""
        quick = ["--seconds-between-status-checks", str(INTERVAL_S), "--latency-wait", "10"]
        return self.literally("snakemake", "--profile", "slurm", "--retries", "0", *quick, *flags)

    def literally(self, *command: str) -> Run:
        """Start a command as it stands."""
        self._runs.append(Run(self, command))
        return self._runs[-1]

    def run(self, *flags: str, seconds: float = _PATIENCE_S) -> Run:
        """Run Snakemake to its end."""
        run = self.start(*flags)
        run.wait(seconds)
        return run

    def end(self) -> None:
        """Kill all runs."""
        for run in self._runs:
            run.kill()

    def lines(self, name: str) -> list[str]:
        """Words of a file in the folder, [] if it does not exist."""
        path = self.folder / name
        return path.read_text().split() if path.exists() else []

    def wait_for_lines(self, name: str, count: int) -> None:
        """Wait until a file has so many lines; the run must go on meanwhile."""
        self._runs[-1].wait_until(
            lambda: len(self.lines(name)) >= count, lambda: f"{name} has {self.lines(name)}, not {count}"
        )


class Run:
    """One Snakemake process and what it prints, with the calls of Slurm's programs in between."""

    def __init__(self, workflow: Workflow, command: tuple[str, ...]) -> None:
        number = len(list(workflow.folder.glob("run*.txt"))) + 1
        self._path = workflow.folder / f"run{number}.txt"
        self.began = time.monotonic()
        self.seconds = 0.0
        with self._path.open("ab") as out:  # append: the spies write into the same file
            self._process = subprocess.Popen(
                command,
                cwd=workflow.folder,
                env={**workflow.env, "SPY_LOG": str(self._path)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # What a shell starts in the background ignores Ctrl-C, and so would all below it.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    @property
    def output(self) -> str:
        """What the run has printed so far, without the lines of the spies."""
        return "\n".join(line for line in self.record if not line.startswith("@"))

    @property
    def record(self) -> list[str]:
        """All lines, those of the spies too."""
        return self._path.read_text(errors="replace").splitlines()

    @property
    def job_ids(self) -> list[str]:
        """Slurm ids of the jobs that this run submitted."""
        return re.findall(r"is slurm job (\S+)", self.output)

    def calls(self, program: str) -> list[str]:
        """Command lines of one of Slurm's programs."""
        return [line[1:] for line in self.record if f"{line} ".startswith(f"@{program} ")]

    @property
    def queries(self) -> int:
        """Times the scheduler was asked about jobs."""
        return sum(len(self.calls(call)) for call in ("sacct", "squeue", "scontrol -o show job"))

    def wait(self, seconds: float = _PATIENCE_S) -> int:
        """Exit status; a run that takes longer is killed and fails the test."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the run took longer than {seconds} s:\n{self.output}") from None
        self.seconds = time.monotonic() - self.began
        return status

    def wait_until(self, condition: Callable[[], bool], what: Callable[[], str]) -> None:
        """Wait for a condition; the run must go on meanwhile."""
        end = time.monotonic() + _PATIENCE_S
        while not condition():
            assert self._process.poll() is None or condition(), f"the run ended:\n{self.output}"
            assert time.monotonic() < end, f"{what()}\n{self.output}"
            time.sleep(0.2)

    def wait_for(self, text: str) -> None:
        """Wait until the run has printed a text."""
        self.wait_until(lambda: text in self.output, lambda: f"the run never printed {text!r}")

    def kill(self) -> None:
        """kill -9 of the head."""
        self._process.kill()
        self._process.wait(10)

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.kill(self._process.pid, signal.SIGINT)

    def check(self, status: int = 0) -> None:
        """Assert the exit status, showing the output if it is another."""
        assert self._process.poll() == status, self.output
