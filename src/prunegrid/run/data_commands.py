"""`prunegrid data`: add a benchmark, pin a folder, fetch and verify an out of data.dvc."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Add the data commands to the parser."""
    data = commands.add_parser("data", help="add a benchmark; fetch and verify data")
    verbs = data.add_subparsers(dest="verb", required=True)
    pull = verbs.add_parser("pull", help="fetch one out of data.dvc and verify it")
    pull.add_argument("path", help="an out of data.dvc")
    pull.add_argument("--md5", required=True)
    pull.add_argument("--stamp", type=Path, required=True)
    pull.set_defaults(run=_pull)
    pin = verbs.add_parser(
        "pin", help="pin a folder that is no benchmark: conversations to train on, weights"
    )
    pin.add_argument("path", help="a folder of the project, as in data/tune/llava_v1_5_mix665k")
    pin.add_argument("--remote", default="bench", help="DVC remote that holds it (default: bench)")
    pin.set_defaults(run=_pin)
    fetch = verbs.add_parser("add", help="fetch a benchmark, or take its files, and pin it in data.dvc")
    fetch.add_argument("task", help="a task of conf/task/ with data below data/bench/")
    fetch.add_argument(
        "--from", dest="given", type=Path, help="official files that are there: a folder, or an archive"
    )
    fetch.add_argument(
        "--revision", help="commit of the hub's dataset (default: today's, noted in source.json)"
    )
    fetch.add_argument("--remote", default="bench", help="DVC remote that holds it (default: bench)")
    fetch.add_argument("--again", action="store_true", help="convert anew what is there already")
    fetch.set_defaults(run=_add)


def _add(arguments: argparse.Namespace) -> None:
    from prunegrid.run.data_add import Request, add

    asked = Request(
        arguments.root, arguments.task, arguments.given, arguments.revision, arguments.remote, arguments.again
    )
    print(add(asked))


def _pin(arguments: argparse.Namespace) -> None:
    from prunegrid.run.data_add import pin_given

    print(pin_given(arguments.root, arguments.path, arguments.remote))


def _pull(arguments: argparse.Namespace) -> None:
    from prunegrid.run.data import pull

    pull(arguments.root, arguments.path, arguments.md5, arguments.stamp)
