"""`prunegrid warm COMMAND`: what COMMAND starts on this machine (predictions, trainings, a planner's questions to methods,
pages, tracking) is forked from one process that has imported torch, transformers, matplotlib and MLflow, instead of
importing them once each (4 s of a core). How it is asked: prunegrid.warm; how it forks: `warm_forks`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from prunegrid.grid.errors import GridError
from prunegrid.warm import SET, SOCKET


def add(commands: Any) -> None:
    """Add the command to the parser."""
    text = "run a command (snakemake, prunegrid studies, ...) whose predictions, trainings and pages start at once"
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
    if SOCKET in os.environ:
        raise GridError(
            f"prunegrid warm: ${SOCKET} is set, a warm process is here already; run the command alone"
        )
    with tempfile.TemporaryDirectory(prefix="prunegrid-") as folder:
        path = str(Path(folder) / "warm")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(64)  # whoever asks waits until the imports are done
            server = subprocess.Popen(
                [sys.executable, "-m", "prunegrid.run.warm_forks", str(listener.fileno())],
                env={**os.environ, **SET},
                stdin=subprocess.PIPE,  # its end tells that the command is over
                pass_fds=[listener.fileno()],
                start_new_session=True,  # Ctrl-C is for the command
            )
        try:
            return _status(_wait(subprocess.Popen(words, env={**os.environ, **_heard(path)})))
        finally:
            assert server.stdin is not None
            server.stdin.close()
            server.wait()


def _heard(path: str) -> dict[str, str]:
    """Environment of the command: where the warm process listens, and that Snakemake's jobs ask there (an option of the
    executor plugin)."""
    python = shlex.join([sys.executable, "-m", "prunegrid.warm"])
    return {SOCKET: path, "SNAKEMAKE_SUBMITIT_PYTHON": python}


def _wait(command: subprocess.Popen[bytes]) -> int:
    """Ctrl-C reaches the command by itself; who ends us ends it."""
    signal.signal(signal.SIGTERM, lambda number, _: command.send_signal(number))
    while True:
        try:
            return command.wait()
        except KeyboardInterrupt:
            continue


def _status(code: int) -> int:
    return 128 - code if code < 0 else code
