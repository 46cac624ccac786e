"""The way to the process that `prunegrid warm` keeps: what it imported once, its forks need not import again.

`python -m prunegrid.warm [-m] MODULE ARGUMENTS ...` does what `python -m MODULE ARGUMENTS ...` does, in a fork of that
process where there is one. What a fork could not do just as a process of its own would is done by such a process: in a Slurm
job, with edited sources, with another environment for what is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

SOCKET = "PRUNEGRID_WARM"  # names its socket, where a command runs under `prunegrid warm`
# what forks run
MODULES = ("prunegrid", "prunegrid.run.fit", "prunegrid.report", "prunegrid.track", "snakemake")
PARENTS = ("snakemake",)  # of these, those that start others, which may ask again; a fork does not
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
    "MLFLOW_",
    "MPL",
    "PRUNEGRID_PACKAGES",
)
SIGNALS = ("SIGHUP", "SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")  # passed on
SET = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}  # unless a caller says otherwise, as rules do


def fixed(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings that count while importing; the number of threads can be set afterwards."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(IMPORTED) and not name.endswith("_NUM_THREADS")
    }


def identity() -> list[Any]:
    """Which sources run, under which Python: where they are, and the newest change among them."""
    package = Path(__file__).parent
    newest = max(file.stat().st_mtime_ns for file in package.rglob("*.py"))
    return [str(package), newest, sys.prefix, sys.version]


def ask(module: str, words: list[str], environment: Mapping[str, str] | None = None) -> int | None:
    """Exit status of `python -m MODULE WORDS` run by the warm process; None where it is to be run here.

    environment: that it runs under (default: this process's).
    """
    path = os.environ.get(SOCKET)
    if not path or "SLURM_JOB_ID" in os.environ:
        return None
    import json  # what only one who asks has to import: every job's command line passes here
    import signal
    import socket

    with socket.socket(socket.AF_UNIX) as asked:
        try:
            asked.connect(path)
            socket.send_fds(asked, [b"\n"], [0, 1, 2])
            asked.sendall(json.dumps(_request(module, words, environment or os.environ)).encode() + b"\n")
            answers = asked.makefile("r", encoding="utf-8")
            first = json.loads(answers.readline() or "{}")
        except (OSError, ValueError):
            return None
        if "pid" not in first:
            print(f"not forked: {first.get('why', 'the warm process is gone')}", file=sys.stderr)
            return None
        for name in SIGNALS:  # an ignored one too: whom the fork has started may heed it
            signal.signal(signal.Signals[name], partial(_pass_on, first["pid"]))
        last = answers.readline()
    if not last:
        print("prunegrid: the warm process ended before its fork", file=sys.stderr)
        return 1
    code: int = json.loads(last)["code"]
    if code < 0:  # ended by a signal: so do we
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _pass_on(pid: int, number: int, _: Any) -> None:
    with suppress(ProcessLookupError):  # it has ended: its status is on the way
        os.killpg(pid, number)


def _request(module: str, words: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    import signal

    mask = os.umask(0)
    os.umask(mask)
    return {
        "module": module,
        "words": words,
        "folder": str(Path.cwd()),
        "environment": {n: v for n, v in environment.items() if n != SOCKET or module in PARENTS},
        "umask": mask,
        "ignored": [name for name in SIGNALS if signal.getsignal(signal.Signals[name]) is signal.SIG_IGN],
        "identity": identity(),
    }


def main() -> int:
    """Run a module: one of MODULES in a fork where there is a warm process, else here and now."""
    given = sys.argv[2:] if sys.argv[1:2] == ["-m"] else sys.argv[1:]
    if not given:
        print("prunegrid.warm: no module; write one, and its arguments behind it", file=sys.stderr)
        return 2
    module, *words = given
    code = ask(module, words, {**SET, **os.environ}) if module in MODULES else None
    if code is None:
        import runpy

        sys.argv = [module, *words]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    return code or 0


if __name__ == "__main__":
    sys.exit(main())
