"""Writes runs so that the same result is never written twice and an interrupted write is never trusted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from prunegrid.track.entry import Entry

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

_T = TypeVar("_T")
Attach = Callable[[Path], Iterable[tuple[Path, str]]]
"""Given a scratch folder, yields (file, artefact folder); called only if a run is written."""


def track(client: MlflowClient, experiment: str, entry: Entry, attach: Attach) -> tuple[str, bool]:
    """(run id, whether it is new). Afterwards this run is current and all others of its thing are not.

    A run that stands as RUNNING was cut off while it was written: it is closed as KILLED and written anew.
    """
    runs = _runs_of(client, experiment, entry)
    same = [run for run in runs if run.data.tags.get("result_hash") == entry.result_hash
            and run.info.status == entry.status]  # fmt: skip
    for run in runs:
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, status="KILLED")
    if same:
        _refresh(client, same[0], entry, attach)
        current = str(same[0].info.run_id)
    else:
        current = _create(client, experiment, entry, attach)
    # the new run is complete before the old one steps back: whoever looks finds a current run
    _flag(client, current, "true", None if not same else same[0].data.tags.get("current"))
    for run in runs:
        if run.info.run_id != current:
            _flag(client, run.info.run_id, "false", run.data.tags.get("current"))
    return current, not same


def _runs_of(client: MlflowClient, experiment: str, entry: Entry) -> list[Run]:
    tag, value = entry.identity
    return list(client.search_runs([experiment], f"tags.`{tag}` = '{value}'", order_by=["start_time DESC"]))


def _flag(client: MlflowClient, run_id: str, value: str, before: str | None) -> None:
    if value != before:
        client.set_tag(run_id, "current", value)


def _create(client: MlflowClient, experiment: str, entry: Entry, attach: Attach) -> str:
    run = client.create_run(
        experiment, start_time=entry.started, tags={**_tags(entry), "current": "false"}, run_name=entry.name
    )
    run_id = str(run.info.run_id)
    _log(client, run_id, entry, params=True)
    _inputs(client, run_id, entry)
    _attach(client, run_id, attach)
    client.set_terminated(run_id, status=entry.status, end_time=entry.ended)
    return run_id


def _refresh(client: MlflowClient, run: Run, entry: Entry, attach: Attach) -> None:
    """Bring a run of the same result up to date: its difference to a baseline may have changed."""
    if run.data.tags.get("content") == entry.content:
        return
    _attach(client, run.info.run_id, attach)
    _log(client, run.info.run_id, entry, params=False)  # with `content`, so last: a cut refresh is repeated


def _tags(entry: Entry) -> dict[str, str]:
    tag, value = entry.identity
    return {**entry.tags, tag: value, "result_hash": entry.result_hash, "content": entry.content}


def _log(client: MlflowClient, run_id: str, entry: Entry, *, params: bool) -> None:
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    single = {name: value for name, value in entry.metrics.items() if name not in entry.curves}
    metrics = [Metric(name, value, now, 0) for name, value in single.items()]
    metrics += [Metric(name, y, now, x) for name, points in entry.curves.items() for x, y in points]
    for batch in _batches(metrics, 900):
        client.log_batch(run_id, metrics=batch)
    if params:
        for some in _batches([Param(name, value) for name, value in entry.params.items()], 90):
            client.log_batch(run_id, params=some)
    else:
        client.log_batch(run_id, tags=[RunTag(name, value) for name, value in _tags(entry).items()])


def _batches(values: Sequence[_T], size: int) -> list[Sequence[_T]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _inputs(client: MlflowClient, run_id: str, entry: Entry) -> None:
    from mlflow.entities import Dataset, DatasetInput

    inputs = [
        DatasetInput(
            Dataset(name=name, digest=digest[:36], source_type="dvc", source=f'{{"path": "{name}"}}')
        )
        for name, digest in entry.datasets.items()
    ]
    if inputs:
        client.log_inputs(run_id, inputs)


def _attach(client: MlflowClient, run_id: str, attach: Attach) -> None:
    with TemporaryDirectory() as scratch:
        for file, folder in attach(Path(scratch)):
            client.log_artifact(run_id, str(file), folder or None)
