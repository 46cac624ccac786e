"""The plugin is tested from the source tree, also in the processes that Snakemake starts."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Any]:
    """Runs commands as job 77; what is left of them ends with the test."""
    from snakemake_executor_plugin_submitit.child import session_members

    from .node import Node

    made = Node(tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        process.wait(5)
    for pid in session_members(made.session()) if made.session() else []:
        os.kill(pid, signal.SIGKILL)
