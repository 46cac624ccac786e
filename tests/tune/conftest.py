"""One tiny model for all tests of training; torch on one thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from .lab import Lab


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab.at(tmp_path_factory.mktemp("tune"))
