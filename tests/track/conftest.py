"""A store of its own for every test; the tables are made once, since migrations take seconds."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from prunegrid.track.__main__ import main
from prunegrid.track.store import opened
from report import synthetic

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient


@dataclass
class Tracked:
    """Results, a store, and the ways a test looks at it."""

    root: Path
    store: str
    client: MlflowClient

    def run(self, command: str, *more: str, study: str = "demo") -> int:
        where = ["--results", str(self.root), "--study", study, "--store", self.store]
        return main([command, *where, *more])

    def runs(self, filter_string: str = "", study: str = "demo") -> list[Run]:
        experiment = self.client.get_experiment_by_name(study)
        assert experiment is not None
        return list(self.client.search_runs([experiment.experiment_id], filter_string))

    def artefacts(self, run: Run, folder: str = "") -> set[str]:
        return {file.path for file in self.client.list_artifacts(run.info.run_id, folder)}


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    assert main(["init", "--store", f"sqlite:///{file}"]) == 0
    return file


@pytest.fixture
def tracked(tmp_path: Path, empty_store: Path) -> Tracked:
    file = tmp_path / "mlflow.db"
    shutil.copy(empty_store, file)
    synthetic.draw_pictures(tmp_path / "data" / "scenes")
    store = f"sqlite:///{file}"
    with opened(store) as client:  # and let go: the commands under test open it themselves
        pass
    return Tracked(tmp_path / "results", store, client)
