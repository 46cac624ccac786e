"""A project folder per test. What hydra composed from the same files is remembered for all of them."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from prunegrid.grid import fitting
from prunegrid.grid.options import Options
from prunegrid.run.fit import wrong

from .project import Project

_compose = Options.compose
_composed: dict[tuple[str, ...], dict[str, Any]] = {}


def remembered(self: Options, overrides: list[str]) -> dict[str, Any]:
    """`Options.compose`, once for the same files."""
    files = sorted(f for f in self.conf.rglob("*.yaml") if f.parent.name != "study")
    text = "".join(f"{f.relative_to(self.conf)}\n{f.read_text(encoding='utf-8')}" for f in files)
    key = (hashlib.sha256(text.encode()).hexdigest(), *overrides)
    if key not in _composed:
        _composed[key] = _compose(self, overrides)
    return copy.deepcopy(_composed[key])


@contextmanager
def started_here(
    root: Path, questions: Sequence[Mapping[str, Any]]
) -> Iterator[Callable[[], list[str | None]]]:
    """`fitting.started` without a process of its own."""
    yield lambda: [wrong(question, root) for question in questions]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Options, "compose", remembered)
    monkeypatch.setattr(fitting, "started", started_here)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """For tests that write nothing into it."""
    return Project.at(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """For tests that change options, data or studies."""
    return Project.at(tmp_path)
