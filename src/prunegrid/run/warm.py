"""`prunegrid warm COMMAND`: predictions and trainings that COMMAND starts on this machine are forked from one process that
has imported torch and transformers, instead of importing them once each (4 s of a core).

A stage's command line hands arguments, environment, folder and output to that process (`warm_forks`), passes signals on and
ends as its fork ends. What a fork could not do just as a process of its own would is done by such a process: in a Slurm
job, with edited sources, with another environment for what is imported.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunegrid.grid.errors import GridError
from prunegrid.run.stages import WARM

STAGES = ("predict", "tune")
PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
# Read while importing: a fork cannot change them any more.
IMPORTED = (
    "HF_",
    "TRANSFORMERS_",
    "TORCH",
    "PYTORCH",
    "PYTHON",
    "MKL_",
    "LD_",
    "CUBLAS_",
    "PRUNEGRID_PACKAGES",
)
SET = {"HF_HUB_OFFLINE": "1"}  # as the rules set it for every stage


def add(commands: Any) -> None:
    """Add the command to the parser."""
    text = (
        "run a command (snakemake, prunegrid studies, ...) whose predictions and trainings start at once here"
    )
    warm = commands.add_parser("warm", help=text, description=text)
    warm.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND ...")
    warm.set_defaults(run=_warm)


def _warm(arguments: argparse.Namespace) -> int:
    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    if not words or shutil.which(words[0]) is None:
        said = f"{words[0]!r} is no command" if words else "no command"
        raise GridError(
            f"prunegrid warm: {said}; write one behind it, as in `prunegrid warm snakemake --profile P`"
        )
    if WARM in os.environ:
        raise GridError(
            f"prunegrid warm: ${WARM} is set, a warm process is here already; run the command alone"
        )
    with tempfile.TemporaryDirectory(prefix="prunegrid-") as folder:
        path = str(Path(folder) / "warm")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(64)  # whoever asks waits until the imports are done
            server = subprocess.Popen(
                [sys.executable, "-m", "prunegrid.run.warm_forks", str(listener.fileno())],
                env={**os.environ, **SET, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,  # its end tells that the command is over
                pass_fds=[listener.fileno()],
                start_new_session=True,  # Ctrl-C is for the command
            )
        try:
            return _status(_wait(subprocess.Popen(words, env={**os.environ, WARM: path})))
        finally:
            assert server.stdin is not None
            server.stdin.close()
            server.wait()


def _wait(command: subprocess.Popen[bytes]) -> int:
    """Ctrl-C reaches the command by itself."""
    while True:
        try:
            return command.wait()
        except KeyboardInterrupt:
            continue


def _status(code: int) -> int:
    return 128 - code if code < 0 else code


def fixed(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings that count while importing; the number of threads can be set afterwards."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(IMPORTED) and not name.endswith("_NUM_THREADS")
    }


def identity() -> list[Any]:
    """Which sources run, under which Python: where they are, and the newest change among them."""
    package = Path(__file__).parents[1]
    newest = max(file.stat().st_mtime_ns for file in package.rglob("*.py"))
    return [str(package), newest, sys.prefix, sys.version]


def ask(words: list[str]) -> int | None:
    """Exit status of a stage run by the warm process; None where the stage is to run here."""
    path = os.environ.get(WARM)
    if not path or words[:1] not in [[stage] for stage in STAGES] or "SLURM_JOB_ID" in os.environ:
        return None
    with socket.socket(socket.AF_UNIX) as asked:
        try:
            asked.connect(path)
            _send(asked, words)
            answers = asked.makefile("r", encoding="utf-8")
            first = json.loads(answers.readline() or "{}")
        except (OSError, ValueError):
            return None
        if "pid" not in first:
            print(f"not forked: {first.get('why', 'the warm process is gone')}", file=sys.stderr)
            return None
        for number in PASSED_ON:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda n, _: os.kill(first["pid"], n))
        last = answers.readline()
    if not last:
        print("prunegrid: the warm process ended before its stage", file=sys.stderr)
        return 1
    code: int = json.loads(last)["code"]
    if code < 0:  # ended by a signal: so do we
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _send(asked: socket.socket, words: list[str]) -> None:
    mask = os.umask(0)
    os.umask(mask)
    request = {
        "words": words,
        "folder": str(Path.cwd()),
        "environment": {name: value for name, value in os.environ.items() if name != WARM},
        "umask": mask,
        "identity": identity(),
    }
    socket.send_fds(asked, [b"\n"], [0, 1, 2])
    asked.sendall(json.dumps(request).encode() + b"\n")
