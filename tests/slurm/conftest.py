"""One private cluster per flavour for all tests, started on first use."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .packages import ClusterError
from .private_cluster import PrivateCluster
from .workflow import SOURCE, Workflow

if str(SOURCE) not in sys.path:
    sys.path.insert(0, str(SOURCE))


@pytest.fixture(scope="session", params=["plain", "accounting"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrivateCluster]:
    """A running cluster, without and with accounting; skips with the reason if it cannot be started."""
    folder = tmp_path_factory.mktemp("slurm") / "cluster"
    for parent in [folder.parent, *folder.parent.parents]:
        if parent == Path("/tmp"):
            break
        parent.chmod(0o755)  # the database runs as a user of its own
    found = PrivateCluster(folder, accounting=request.param == "accounting")
    try:
        found.start()
    except ClusterError as error:
        pytest.skip(f"no private Slurm: {error}")
    yield found
    found.stop()


@pytest.fixture(autouse=True)
def answering(request: pytest.FixtureRequest) -> None:
    """No test begins on a cluster whose accounting the test before it has left speechless."""
    if "cluster" in request.fixturenames:
        request.getfixturevalue("cluster").mend_accounting()


@pytest.fixture
def workflow(cluster: PrivateCluster, tmp_path: Path) -> Iterator[Callable[[str], Workflow]]:
    """Makes the workflow of a test; with the test, its runs and all jobs of the cluster end."""
    made: list[Workflow] = []

    def make(snakefile: str) -> Workflow:
        made.append(Workflow(tmp_path, cluster.conf, snakefile))
        return made[-1]

    yield make
    end(cluster, made)


def end(cluster: PrivateCluster, workflows: list[Workflow]) -> None:
    """End the runs, and all jobs of the cluster."""
    for one in workflows:
        one.end()
    with contextlib.suppress(subprocess.SubprocessError):
        cluster.client("scancel", "--user=root")
