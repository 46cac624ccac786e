import os
import subprocess
import sys
from pathlib import Path

import pytest

from report import synthetic

from .conftest import Tracked

TOPK = {"topk_cls keep=36": ("topk_cls", 36, 1)}


def test_processes_that_start_together_do_not_break_a_new_store(tmp_path: Path) -> None:
    root, store = tmp_path / "results", f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    cells = synthetic.write_study(root, columns=["a"], rows={**TOPK, "random": ("random", 36, 1)})
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "prunegrid.track", "cell", "--results", str(root), "--study", "demo",
             "--store", store, "--cell", cell["id"]],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for cell in cells
    ]  # fmt: skip
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    from prunegrid.track.store import opened

    with opened(store) as client:
        (experiment,) = [e for e in client.search_experiments() if e.name == "demo"]
        assert len(client.search_runs([experiment.experiment_id])) == 2


def test_a_moved_store_is_refused(tracked: Tracked, capsys: pytest.CaptureFixture[str]) -> None:
    (cell,) = synthetic.write_study(tracked.root, columns=["a"], rows=TOPK)
    assert tracked.run("cell", "--cell", cell["id"]) == 0
    elsewhere = str(tracked.root.parent / "elsewhere")
    assert tracked.run("cell", "--cell", cell["id"], "--artifacts", elsewhere) == 1
    assert "delete the store and track again" in capsys.readouterr().err
    assert not Path(elsewhere).exists()


def test_a_store_that_is_not_there_is_one_line(
    tracked: Tracked, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (cell,) = synthetic.write_study(tracked.root, columns=["a"], rows=TOPK)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracked.store = "http://127.0.0.1:9"  # discard: nothing listens
    assert tracked.run("cell", "--cell", cell["id"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: store http://127.0.0.1:9: ") and error.count("\n") == 1
    assert "Is the server up? The results are kept: run again" in error
    assert not (tracked.root / "tracked").exists()


def test_a_deleted_experiment_comes_back(tracked: Tracked) -> None:
    (cell,) = synthetic.write_study(tracked.root, columns=["a"], rows=TOPK)
    tracked.run("cell", "--cell", cell["id"])
    experiment = tracked.client.get_experiment_by_name("demo")
    assert experiment is not None
    tracked.client.delete_experiment(experiment.experiment_id)
    assert tracked.run("cell", "--cell", cell["id"]) == 0
    assert len(tracked.runs("tags.current = 'true'")) == 1


def test_a_relative_store_does_not_depend_on_the_folder(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prunegrid.track.__main__ import main

    (cell,) = synthetic.write_study(tmp_path / "results", columns=["a"], rows=TOPK)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    arguments = ["--study", "demo", "--store", "sqlite:///mlflow.db", "--cell", cell["id"]]
    assert main(["cell", *arguments]) == 0
    assert len(list((tmp_path / "mlartifacts" / "demo").iterdir())) == 1


def test_nothing_is_sent_home(tracked: Tracked) -> None:
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true" and os.environ["DO_NOT_TRACK"] == "true"


@pytest.mark.parametrize(
    "module", ["prunegrid.track.__main__", "prunegrid.track.views", "prunegrid.track.runs"]
)
def test_importing_is_light(module: str) -> None:
    code = f"import sys, {module}; sys.exit('mlflow' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
