"""Where benchmarks come from and go to: the hub, a machine without network, DVC."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from grid.project import Project
from prunegrid.run import data_add
from prunegrid.run.data import dvc_md5
from prunegrid.run.files import ResultError
from prunegrid.run.main import main

from . import hub, official
from .conftest import add


def test_either_organisation_serves_and_the_commit_is_noted(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def commit(names: list[str], revision: str | None, *_: Any) -> tuple[str, str]:
        asked.append(tuple(names))
        return names[1], revision or "c" * 40

    def fetch(repository: str, revision: str, folder: Path, *_: Any) -> None:
        hub.pope(folder)

    monkeypatch.setattr(data_add, "commit", commit)
    monkeypatch.setattr(data_add, "fetch", fetch)
    assert main(["--root", str(project.root), "data", "add", "pope"]) == 0
    assert asked == [("lmms-lab/POPE", "lmms-lab-encoder/POPE")]
    source = json.loads((project.root / "data/bench/pope/source.json").read_text(encoding="utf-8"))
    assert source == {
        "repository": "lmms-lab-encoder/POPE",
        "revision": "c" * 40,
        "rows": 3,
        "edition": "made for tests",
    }
    assert not (project.root / "data/bench/.fetch/pope").exists()


def test_without_network_the_way_out_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    nowhere = huggingface_hub.HfApi(endpoint="http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: nowhere)
    with pytest.raises(
        ResultError, match=r"(ConnectError|OfflineModeIsEnabled).*prunegrid data add pope --from PATH"
    ):
        data_add.add(data_add.Request(project.root, "pope"))


@pytest.mark.parametrize(
    ("task", "complaint"), [("mini_pope", "unknown benchmark"), ("popo", "Did you mean 'pope'")]
)
def test_what_cannot_be_added(
    task: str, complaint: str, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(project.root), "data", "add", task]) == 2
    assert complaint in capsys.readouterr().err


def test_dvc_holds_what_was_added_beside_outs_that_are_not_here(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With DVC itself: the pin is its own md5, and the files come back from its cache."""
    import subprocess
    import sys

    def dvc(*words: str) -> int:
        return subprocess.run([sys.executable, "-m", "dvc", *words], cwd=project.root, check=False).returncode

    assert dvc("init", "--no-scm", "--quiet") == 0
    assert add(project, "pope", official, tmp_path / "given") == 2
    assert "dvc remote add bench" in capsys.readouterr().err
    assert dvc("remote", "add", "bench", str(tmp_path / "store"), "--quiet") == 0
    assert add(project, "pope", official, tmp_path / "given") == 0
    first = dvc_md5(project.root / "data/bench/pope")
    shutil.rmtree(project.root / "data/bench/pope")
    assert dvc("checkout", "--quiet", "data/bench/pope") == 0
    assert dvc_md5(project.root / "data/bench/pope") == first
    assert not list(project.root.glob("pin_*.dvc"))
