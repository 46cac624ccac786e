"""A tracking server of its own, over HTTP: the same runs, pictures and views as in a sqlite file."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from prunegrid.track.store import opened
from report import synthetic

from .conftest import Tracked

SMALL = {"none": ("none", 144, 1), "topk_cls keep=36": ("topk_cls", 36, 1)}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def await_health(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"no tracking server at {address}:\n{log.read_text()[-2000:]}")


@pytest.fixture
def remote(tmp_path: Path, empty_store: Path) -> Iterator[Tracked]:
    """Results, and a server in a folder of its own that keeps runs and artefacts; it ends with the test."""
    home = tmp_path / "server"
    home.mkdir()
    shutil.copy(empty_store, home / "mlflow.db")
    address, log = f"http://127.0.0.1:{free_port()}", home / "log.txt"
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", address.rsplit(":", 1)[1],
        "--workers", "1", "--backend-store-uri", f"sqlite:///{home / 'mlflow.db'}",
        "--artifacts-destination", str(home / "artifacts"),
    ]  # fmt: skip
    alone = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("wb") as said:
        server = subprocess.Popen(
            command, cwd=home, env=os.environ | alone, stdout=said, stderr=said, start_new_session=True
        )
    try:
        await_health(server, address, log)
        synthetic.draw_pictures(tmp_path / "data" / "scenes")
        with opened(address) as client:
            yield Tracked(tmp_path / "results", address, client)
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # its workers with it
        server.wait(timeout=60)


def test_a_study_on_a_server(remote: Tracked) -> None:
    synthetic.write_study(remote.root, columns=["mini_pope"], rows=SMALL)
    assert remote.run("study") == 0
    cells = remote.runs("tags.kind = 'cell' and tags.current = 'true'")
    assert {run.info.run_name for run in cells} == {"none · mini_pope", "topk_cls keep=36 · mini_pope"}
    (study,) = remote.runs("tags.kind = 'study'")
    assert study.info.artifact_uri.startswith("mlflow-artifacts:/")
    assert {"report/index.html", "report/table.md"} <= remote.artefacts(study, "report")
    assert len(remote.artefacts(cells[0], "images")) == 8
    experiment = remote.client.get_experiment_by_name("demo")
    assert {"table", "charts", "pictures"} == {
        name.removeprefix("mlflow.sharedViewState.") for name in experiment.tags if "sharedViewState" in name
    }
    assert not (remote.root.parent / "mlartifacts").exists()  # the server keeps them
    score = remote.client.download_artifacts(cells[0].info.run_id, "cell/score.json")
    assert Path(score).read_bytes() == (Path(cells[0].data.tags["cell_folder"]) / "score.json").read_bytes()

    before = {run.info.run_id: (run.info.end_time, run.data.tags, run.data.metrics) for run in remote.runs()}
    assert remote.run("study") == 0
    after = {run.info.run_id: (run.info.end_time, run.data.tags, run.data.metrics) for run in remote.runs()}
    assert after == before and len(after) == 3
    assert remote.client.get_experiment_by_name("demo").tags == experiment.tags
