"""One tiny model for all tests; torch on one thread, without gradients unless a test asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from transformers import LlavaForConditionalGeneration
from transformers.utils import logging

from . import lab

logging.set_verbosity_error()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def model() -> LlavaForConditionalGeneration:
    """Shared: a test that changes it works on a copy."""
    made = lab.tiny()
    with torch.no_grad():
        made(**lab.batch(), output_hidden_states=True)  # transformers installs its capture hooks at first use
    return made


@pytest.fixture
def inputs() -> lab.Inputs:
    return lab.batch()


@pytest.fixture
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield
