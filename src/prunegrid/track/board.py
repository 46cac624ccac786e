"""A study on the dashboard: its experiment, and the runs that its cells, its tunings and itself get there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from prunegrid.grid.atomic import write_changed
from prunegrid.report.cell import Cell, ResultError
from prunegrid.report.results import Study
from prunegrid.track import runs, store
from prunegrid.track.entry import run_link

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

TUNINGS = "tunings"
_TUNINGS_NOTE = (
    "What cells are evaluated with, trained once for all that share it: one run each, its curves step by step. A "
    "cell's run names its tuning in the tag `adapter_id` and links it; the cells of a tuning are found in a study's "
    "experiment by `tags.adapter_id = '...'`."
)


@dataclass(frozen=True)
class Board:
    """The experiment of a study. `artifacts` is the folder of all artefacts, None where a server has its own."""

    client: MlflowClient
    study: Study
    artifacts: Path | None

    @cached_property
    def experiment(self) -> str:
        """Its id. TrackError if the study has the name of the experiment that all studies share."""
        if self.study.name == TUNINGS:
            raise store.TrackError(
                f"study {TUNINGS!r}: the experiment of all tunings has this name; rename the study"
            )
        return store.experiment(self.client, self.study.name, self.artifacts)

    def track_cell(self, cell: Cell) -> None:
        """One run for one cell; ResultError if there is nothing to track. Marks a finished cell as tracked."""
        from prunegrid.report.style import colour_of  # matplotlib
        from prunegrid.track.cells import cell_entry, cell_files

        if cell.state == "missing":
            raise ResultError(
                f"cell {cell.id!r} has no result: {cell.folder / 'score.json'} is missing; run `snakemake` for it"
            )
        entry = cell_entry(self.study, cell, colour_of(cell.reducer), dict(self._tunings(cell)))
        run_id, new = runs.track(self.client, self.experiment, entry, partial(cell_files, cell))
        print(f"{cell.id}: {'new run' if new else 'known run'} {run_id} ({entry.status})")
        if cell.state == "done":
            done = {"run_id": run_id, "experiment_id": self.experiment, "result_hash": entry.result_hash}
            file = self.study.root / "tracked" / self.study.name / f"{cell.id}.json"
            write_changed(file, json.dumps(done, indent=1, sort_keys=True) + "\n")

    def _tunings(self, cell: Cell) -> Iterator[tuple[str, str]]:
        """(adapter id, link to its run) of every finished tuning of the cell; its run is written if need be."""
        for each in cell.planned.get("adapters") or []:
            if link := self._track_tuning(str(each["id"])):
                yield str(each["id"]), link

    def _track_tuning(self, adapter: str) -> str | None:
        from prunegrid.track.tunings import tuning_entry, tuning_files
        from prunegrid.track.views import note

        entry = tuning_entry(self.study.root, adapter)
        if entry is None:
            return None
        experiment = store.experiment(self.client, TUNINGS, self.artifacts)
        run_id, new = runs.track(
            self.client, experiment, entry, partial(tuning_files, self.study.root, adapter)
        )
        if new:
            note(self.client, experiment, _TUNINGS_NOTE)
        print(f"{adapter}: {'new run' if new else 'known run'} {run_id}")
        return run_link(experiment, run_id)

    def track_study(self, page: Path | None = None) -> None:
        """The study's run and views; failed cells and cells that a lost store forgot are tracked on the way.

        page: a folder with its report as it stands now; None: it is built.
        """
        from prunegrid.track.study import study_entry, study_files
        from prunegrid.track.views import describe

        for cell in self.study.everything:
            if cell.state != "missing":
                self.track_cell(cell)
        entry = study_entry(self.study)
        attach = partial(study_files, self.study, page)
        run_id, new = runs.track(self.client, self.experiment, entry, attach)
        describe(self.client, self.experiment, self.study, run_id)
        print(f"study {self.study.name}: {self.study.progress}, {'new run' if new else 'known run'} {run_id}")
