"""`python -m prunegrid.track {init,cell,study}`: result files into MLflow, one process at a time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from prunegrid.grid.errors import GridError
from prunegrid.grid.index import Tables
from prunegrid.report.cell import Cell, ResultError
from prunegrid.report.results import Study, load_study
from prunegrid.track import store
from prunegrid.track.board import Board


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 1 with one line of error."""
    given = _parser().parse_args(arguments)
    try:
        study = _study(given)
        with store.opened(given.store) as client:
            if study is None:
                client.search_experiments(max_results=1)  # creates the tables
                return 0
            board = Board(client, study, given.artifacts or store.beside(given.store))
            if given.command == "cell":
                for cell_id in given.cell:
                    board.track_cell(study.cell(cell_id))
            elif given.command == "study":
                board.track_study(given.page)
            else:
                print(f"experiment {board.experiment}")
    except (ResultError, GridError, store.TrackError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _study(given: argparse.Namespace) -> Study | None:
    """What a command needs of a study: for cells their own rows, read at their places in the plan."""
    if given.command == "init" and not given.study:
        return None
    plain = Path(given.study).name == given.study
    tables = Tables.read(given.results, given.study) if given.command == "cell" and plain else None
    if tables is None:
        return load_study(given.results, given.study)
    cells = [Cell(given.results, tables.cells[each]) for each in given.cell if each in tables.cells]
    return Study(given.results, {"study": given.study}, tuple(cells))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m prunegrid.track", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    init = commands.add_parser("init", help="create the store, and the study's experiment if one is named")
    cell = commands.add_parser("cell", help="track finished or failed cells of a study")
    study = commands.add_parser("study", help="track the study, and every cell of it that is not tracked yet")
    study.add_argument(
        "--page", type=Path, help="its report, as `python -m prunegrid.report study` left it (default: built)"
    )
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
