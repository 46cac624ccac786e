"""The plugin is tested from the source tree, also in the processes that Snakemake starts."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = str(Path(__file__).parents[2] / "src")
if SOURCE not in sys.path:
    sys.path.insert(0, SOURCE)


@pytest.fixture(scope="package", autouse=True)
def source_for_subprocesses() -> Iterator[None]:
    """Snakemake finds plugins on the path of each process that it starts."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([SOURCE, *([before] if before else [])])
    yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before
