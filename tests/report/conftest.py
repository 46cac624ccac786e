"""A study of two benchmarks and eight cells each, as files."""

from pathlib import Path

import pytest

from . import synthetic


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty results folder with pictures beside it."""
    synthetic.draw_pictures(tmp_path / "data" / "scenes")
    return tmp_path / "results"
