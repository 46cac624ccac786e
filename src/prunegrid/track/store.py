"""The MLflow store: opened by one process at a time, one experiment per study."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from prunegrid.track.entry import KIND

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_SQLITE = "sqlite:///"


class TrackError(Exception):
    """Tracking cannot go on; the message says what to do."""


def load() -> None:
    """Import now what `opened` and its client import on the way, for a process whose forks track."""
    _settings()
    import mlflow.artifacts
    import mlflow.store.tracking.sqlalchemy_store
    import mlflow.tracking  # noqa: F401


def _settings() -> None:
    """Nothing leaves the machine: a compute node has no network, and nobody was asked."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    # 7 keep an absent server's user for minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")


@contextmanager
def opened(store: str) -> Iterator[MlflowClient]:
    """A client of `store`. Whatever the store refuses is a TrackError of one line."""
    _settings()
    from mlflow.exceptions import MlflowException  # a second and 170 MB that only tracking pays
    from mlflow.tracking import MlflowClient

    for name in ("alembic", "mlflow"):  # a page of migrations for every new file
        logging.getLogger(name).setLevel(logging.WARNING)
    file = _sqlite_file(store)
    try:
        with _alone(file):
            yield MlflowClient(store if file is None else f"{_SQLITE}{file}")
    except (MlflowException, OSError) as error:  # a connection that breaks is an OSError
        raise TrackError(f"store {store}: {str(error).splitlines()[0]}{_remedy(error, file)}") from error


def _remedy(error: Exception, file: Path | None) -> str:
    """What to do about a server that does not answer; nothing is known about other refusals."""
    if file is not None or "Max retries" not in str(error):
        return ""
    return ". Is the server up? The results are kept: run again, and what is not tracked yet is tracked"


@contextmanager
def _alone(file: Path | None) -> Iterator[None]:
    """Wait for the lock beside a sqlite file: processes that create one together destroy it for good."""
    if file is None:
        yield  # a server orders its clients itself
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f"{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sqlite_file(store: str) -> Path | None:
    return Path(store.removeprefix(_SQLITE)).resolve() if store.startswith(_SQLITE) else None


def beside(store: str) -> Path | None:
    """The default place of artefacts: next to a sqlite file; None for a server."""
    file = _sqlite_file(store)
    return None if file is None else file.parent / "mlartifacts"


def experiment(client: MlflowClient, study: str, artifacts: Path | None) -> str:
    """The id of the study's experiment, made or brought back if need be.

    `artifacts` is the folder of all artefacts; None leaves the place to a tracking server. MLflow stores
    absolute paths, so a store that was moved would write into the old folder: TrackError.
    """
    place = None if artifacts is None else (artifacts / study).resolve().as_uri()
    found = client.get_experiment_by_name(study)
    if found is None:
        return str(client.create_experiment(study, artifact_location=place, tags=dict([KIND])))
    if place is not None and found.artifact_location.rstrip("/") != place:
        raise TrackError(
            f"experiment {study!r} keeps its artefacts in {found.artifact_location}, not in {place}. If this "
            "folder was moved or copied, delete the store and track again: it is rebuilt from the results"
        )
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)
