"""The process that `prunegrid warm` keeps: it has imported what its forks need, and forks once per request.

`python -m prunegrid.run.warm_forks FD`, FD the listening socket. Ends when its standard input does and its forks have.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from prunegrid.warm import MODULES, SIGNALS, fixed, identity

# After torch, while nobody asks: named alone, as nothing stands on the readers of results.
LATER = (
    "snakemake.cli",
    "prunegrid.report.study",
    "prunegrid.track.store:load",
    "prunegrid.track.study",
    "prunegrid.track.cells",
)
TURN = 0.05  # seconds between two looks at forks that may have ended
PATIENCE = 5.0  # seconds for a request to arrive whole


def main(listener: socket.socket) -> None:
    """Serve until the command is over. What a fork misses it imports itself."""
    here, settings = identity(), fixed(os.environ)
    _imports()
    later = list(LATER)
    forks: dict[int, socket.socket] = {}
    over = False
    while not over or forks:
        waiting: list[Any] = [listener, *forks.values(), *([] if over else [sys.stdin])]
        ready, _, _ = select.select(waiting, [], [], TURN)
        over = over or (sys.stdin in ready and not os.read(0, 1))
        if listener in ready:
            gc.freeze()  # a fork's collector leaves these pages shared
            _serve(listener, forks, here, settings)
        elif later and not over:
            _load(later.pop(0))
        for pid, asked in list(forks.items()):
            if asked in ready and not _living(asked):
                _end(pid)  # who asked was killed
            _reap(pid, forks)


def _imports() -> None:
    from transformers import AutoProcessor, AutoTokenizer, LlavaForConditionalGeneration  # noqa: F401

    from prunegrid.run import predict, tune  # noqa: F401
    from prunegrid.run.main import parser
    from prunegrid.tune import adapters, loop, parts  # noqa: F401

    parser(stages_alone=True)


def _load(what: str) -> None:
    """Import a module; behind a colon, what to call there."""
    module, _, function = what.partition(":")
    loaded = importlib.import_module(module)
    if function:
        getattr(loaded, function)()


def _serve(
    listener: socket.socket, forks: dict[int, socket.socket], here: list[Any], settings: Mapping[str, str]
) -> None:
    """Take one request: fork, or say why not."""
    asked, _ = listener.accept()
    asked.settimeout(PATIENCE)
    try:
        _, streams, _, _ = socket.recv_fds(asked, 1, 3)
        request = json.loads(asked.makefile("r", encoding="utf-8").readline())
    except (OSError, ValueError):
        asked.close()
        return
    why = _refusal(request, here, settings)
    if why:
        asked.sendall(json.dumps({"why": why}).encode() + b"\n")
        asked.close()
    else:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            os.setsid()  # before anybody hears of it: signals go to the whole group
            asked.sendall(json.dumps({"pid": os.getpid()}).encode() + b"\n")
            for other in (listener, asked, *forks.values()):
                other.close()
            _run(request, streams)
        forks[pid] = asked
        asked.settimeout(None)
    for stream in streams:
        os.close(stream)


def _refusal(request: Mapping[str, Any], here: list[Any], settings: Mapping[str, str]) -> str:
    if request["module"] not in MODULES:
        return f"{request['module']} is none of {', '.join(MODULES)}"
    if request["identity"] != here:
        return "the sources are others than those that were imported"
    asked = fixed(request["environment"])
    names = sorted(name for name in asked.keys() | settings.keys() if asked.get(name) != settings.get(name))
    if names:
        return f"{', '.join(names)} differ from what was imported under"
    if not request["environment"].get("OMP_NUM_THREADS", "").isdecimal():
        return "OMP_NUM_THREADS is no number"
    return ""


def _run(request: Mapping[str, Any], streams: Sequence[int]) -> NoReturn:
    """In the fork: become what was asked for."""
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
        os.chdir(request["folder"])
        os.umask(request["umask"])
        for name in SIGNALS:
            default = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
            signal.signal(signal.Signals[name], signal.SIG_IGN if name in request["ignored"] else default)
        os.environ.clear()
        os.environ.update(request["environment"])
        _become(request["module"], request["words"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # as Python itself ends
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _become(module: str, words: list[str]) -> None:
    """As `python -m`."""
    import torch

    gc.enable()
    random.seed()  # or all forks draw the same
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))  # libgomp has read its own setting already
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _living(asked: socket.socket) -> bool:
    """Who asked says nothing more: what can be read is its end."""
    try:
        return bool(asked.recv(1))
    except OSError:
        return False


def _end(pid: int) -> None:
    """A fork with all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _reap(pid: int, forks: dict[int, socket.socket]) -> None:
    done, status = os.waitpid(pid, os.WNOHANG)
    if not done:
        return
    with forks.pop(pid) as asked:
        try:
            code = os.waitstatus_to_exitcode(status)
            asked.sendall(json.dumps({"code": code}).encode() + b"\n")
        except OSError:
            pass  # nobody waits for it any more


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
