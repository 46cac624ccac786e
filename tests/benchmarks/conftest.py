"""A project where every benchmark has as many rows as the fixtures; options are composed once for the same files."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from grid.conftest import quick
from grid.project import ROOT, Project
from prunegrid.run import data_add
from prunegrid.run.main import main

__all__ = ["quick"]

VIDEO = {"msvd_qa", "msrvtt_qa", "activitynet_qa"}  # their input is not read yet
ROWS = {"mme": 4}  # of the fixtures; 3 elsewhere
DATA = [yaml.safe_load(f.read_text(encoding="utf-8"))["data"] for f in (ROOT / "conf/task").glob("*.yaml")]
NAMES = sorted({Path(d).name for d in DATA if d.startswith("data/bench/")} - VIDEO)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Where every benchmark has the fixtures' number of rows."""
    modules = {name: data_add._benchmark(f"data/bench/{name}") for name in NAMES}  # all before one is changed
    for name, module in modules.items():
        monkeypatch.setattr(module, "COUNTS", {ROWS.get(name, 3): "made for tests"})
    return Project.at(tmp_path / "project")


def add(project: Project, task: str, kind: ModuleType, given: Path, *more: str) -> int:
    getattr(kind, task)(given)
    return main(["--root", str(project.root), "data", "add", task, "--from", str(given), *more])


def rows(project: Project, task: str) -> list[dict[str, Any]]:
    option = yaml.safe_load((project.root / f"conf/task/{task}.yaml").read_text(encoding="utf-8"))
    text = (project.root / option["data"] / option["file"]).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
