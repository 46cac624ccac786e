"""`python -m prunegrid.track {init,cell,study}`: result files into MLflow, one process at a time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from prunegrid.report.cell import ResultError
from prunegrid.report.results import load_study
from prunegrid.track import store
from prunegrid.track.board import Board


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 1 with one line of error."""
    given = _parser().parse_args(arguments)
    try:
        study = (
            None if given.command == "init" and not given.study else load_study(given.results, given.study)
        )
        with store.opened(given.store) as client:
            if study is None:
                client.search_experiments(max_results=1)  # creates the tables
                return 0
            board = Board(client, study, given.artifacts or store.beside(given.store))
            if given.command == "cell":
                for cell_id in given.cell:
                    board.track_cell(study.cell(cell_id))
            elif given.command == "study":
                board.track_study()
            else:
                print(f"experiment {board.experiment}")
    except (ResultError, store.TrackError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m prunegrid.track", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    init = commands.add_parser("init", help="create the store, and the study's experiment if one is named")
    cell = commands.add_parser("cell", help="track finished or failed cells of a study")
    study = commands.add_parser("study", help="track the study, and every cell of it that is not tracked yet")
    for command in (init, cell, study):
        command.add_argument("--results", type=Path, default=Path("results"))
        command.add_argument("--study", required=command is not init)
        command.add_argument("--store", required=True, help="sqlite:///mlflow.db or the address of a server")
        command.add_argument(
            "--artifacts",
            type=Path,
            help="folder of the artefacts (default: mlartifacts beside a sqlite file; a server has its own)",
        )
    cell.add_argument("--cell", required=True, nargs="+", metavar="ID")
    return parser


if __name__ == "__main__":
    sys.exit(main())
