"""`python -m prunegrid.track {init,cell,study}`: result files into MLflow, one process at a time."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from prunegrid.grid.atomic import write_changed
from prunegrid.report.cell import Cell, ResultError
from prunegrid.report.results import Study, load_study
from prunegrid.track import runs, store

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


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
            artifacts = given.artifacts or store.beside(given.store)
            experiment = store.experiment(client, study.name, artifacts)
            if given.command == "cell":
                for cell_id in given.cell:
                    track_cell(client, experiment, study, study.cell(cell_id))
            elif given.command == "study":
                track_study(client, experiment, study)
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


def track_cell(client: MlflowClient, experiment: str, study: Study, cell: Cell) -> None:
    """One run for one cell; ResultError if there is nothing to track. Marks a finished cell as tracked."""
    from prunegrid.track.cells import cell_entry, cell_files  # matplotlib

    if cell.state == "missing":
        raise ResultError(
            f"cell {cell.id!r} has no result: {cell.folder / 'score.json'} is missing; run `snakemake` for it"
        )
    entry = cell_entry(study, cell)
    run_id, new = runs.track(client, experiment, entry, partial(cell_files, cell))
    print(f"{cell.id}: {'new run' if new else 'known run'} {run_id} ({entry.status})")
    for each in cell.planned.get("adapters") or []:
        track_tuning(client, experiment, study, str(each["id"]))
    if cell.state == "done":
        done = {"run_id": run_id, "experiment_id": experiment, "result_hash": entry.result_hash}
        file = study.root / "tracked" / study.name / f"{cell.id}.json"
        write_changed(file, json.dumps(done, indent=1, sort_keys=True) + "\n")


def track_tuning(client: MlflowClient, experiment: str, study: Study, adapter: str) -> None:
    """One run for one finished tuning, however many cells share it; its curves step by step."""
    from prunegrid.track.tunings import tuning_entry, tuning_files

    if entry := tuning_entry(study.root, adapter):
        run_id, new = runs.track(client, experiment, entry, partial(tuning_files, study.root, adapter))
        print(f"{adapter}: {'new run' if new else 'known run'} {run_id}")


def track_study(client: MlflowClient, experiment: str, study: Study) -> None:
    """The study's run and views; failed cells and cells that a lost store forgot are tracked on the way."""
    from prunegrid.track.study import study_entry, study_files
    from prunegrid.track.views import describe

    for cell in study.everything:
        if cell.state != "missing":
            track_cell(client, experiment, study, cell)
    run_id, new = runs.track(client, experiment, study_entry(study), partial(study_files, study))
    describe(client, experiment, study)
    print(f"study {study.name}: {study.progress}, {'new run' if new else 'known run'} {run_id}")


if __name__ == "__main__":
    sys.exit(main())
