"""One tiny project for the session, a copy for each test that writes; torch on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from grid.conftest import quick
from grid.project import Project
from prunegrid.grid.cell import Cell

from . import lab

__all__ = ["quick"]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return lab.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def project(template: Project, tmp_path: Path) -> Project:
    return lab.copy(template, tmp_path / "project")


@pytest.fixture
def cell(project: Project) -> Cell:
    """A cell of a planned study."""
    return lab.cells(lab.study(project, {"random": {"keep": 4}}, task="mini_pope"))[0]
