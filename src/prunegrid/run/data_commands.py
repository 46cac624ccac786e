"""`prunegrid data`: add a benchmark, fetch and verify an out of data.dvc."""

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


def _pull(arguments: argparse.Namespace) -> None:
    from prunegrid.run.data import pull

    pull(arguments.root, arguments.path, arguments.md5, arguments.stamp)
