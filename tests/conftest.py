"""What tests of several folders start from. Imports stand inside: tests of the plugin need neither torch nor hydra."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    """A tiny LLaVA, deep enough for methods with several stages, on one thread."""
    import torch

    from reduce import lab

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield lab.tiny(layers=lab.DEPTH)
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def real_options() -> Any:
    """The project's own conf/, composed once."""
    from prunegrid.grid.options import Options

    return Options.of(Path(__file__).parents[1] / "conf")


@pytest.fixture
def composed_once(real_options: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every plan of a module takes the same options."""
    from prunegrid.grid.options import Options

    monkeypatch.setattr(Options, "of", classmethod(lambda cls, conf: real_options))
