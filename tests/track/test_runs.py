from collections.abc import Iterator
from pathlib import Path

import pytest

from prunegrid.track import runs
from prunegrid.track.entry import Entry

from .conftest import Tracked

ENTRY = Entry("name", ("cell_id", "c1"), "h1", "FINISHED", {"p": "1"}, {"score": 0.5}, {"kind": "cell"})


def nothing(scratch: Path) -> Iterator[tuple[Path, str]]:
    return iter(())


def experiment(tracked: Tracked) -> str:
    return str(tracked.client.create_experiment("demo"))


def test_an_interrupted_run_is_closed_and_written_anew(tracked: Tracked) -> None:
    where = experiment(tracked)

    def cut(scratch: Path) -> Iterator[tuple[Path, str]]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.track(tracked.client, where, ENTRY, cut)
    (half,) = tracked.runs()
    assert (half.info.status, half.data.tags["current"]) == ("RUNNING", "false")
    run_id, new = runs.track(tracked.client, where, ENTRY, nothing)
    assert new and run_id != half.info.run_id
    states = {run.info.status: run.data.tags["current"] for run in tracked.runs()}
    assert states == {"KILLED": "false", "FINISHED": "true"}


def test_a_rerun_that_is_cut_leaves_the_old_run_current(tracked: Tracked) -> None:
    where = experiment(tracked)
    old, _ = runs.track(tracked.client, where, ENTRY, nothing)

    def cut(scratch: Path) -> Iterator[tuple[Path, str]]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.track(tracked.client, where, Entry(**{**ENTRY.__dict__, "result_hash": "h2"}), cut)
    (current,) = tracked.runs("tags.current = 'true'")
    assert current.info.run_id == old


def test_a_deleted_run_is_written_again(tracked: Tracked) -> None:
    where = experiment(tracked)
    old, _ = runs.track(tracked.client, where, ENTRY, nothing)
    tracked.client.delete_run(old)
    again, new = runs.track(tracked.client, where, ENTRY, nothing)
    assert new and again != old


def test_more_parameters_and_metrics_than_a_batch_takes(tracked: Tracked) -> None:
    where = experiment(tracked)
    many = Entry(
        "n", ("cell_id", "c"), "h", "FINISHED",
        params={f"p{i}": str(i) for i in range(250)}, metrics={f"m{i}": float(i) for i in range(1200)},
    )  # fmt: skip
    run_id, _ = runs.track(tracked.client, where, many, nothing)
    data = tracked.client.get_run(run_id).data
    assert len(data.params) == 250 and len(data.metrics) == 1200


def test_scratch_files_become_artefacts(tracked: Tracked) -> None:
    def attach(scratch: Path) -> Iterator[tuple[Path, str]]:
        file = scratch / "a.txt"
        file.write_text("x")
        yield file, "deep/folder"

    run_id, _ = runs.track(tracked.client, experiment(tracked), ENTRY, attach)
    assert tracked.artefacts(tracked.client.get_run(run_id), "deep/folder") == {"deep/folder/a.txt"}
