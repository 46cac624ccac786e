"""Snakemake's own tests for executor plugins, on a real Slurm."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import snakemake.common.tests

from snakemake_executor_plugin_submitit import ExecutorSettings

from .private_cluster import PrivateCluster, search_path
from .workflow import SOURCE

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(1500),
    pytest.mark.parametrize("cluster", ["accounting"], indirect=True, scope="session"),
]


class TestSlurm(snakemake.common.tests.TestWorkflowsLocalStorageBase):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _environment(self, cluster: PrivateCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
        monkeypatch.setenv("PATH", search_path())
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")]))
        before = Path.cwd()
        yield
        os.chdir(before)

    def get_executor(self) -> str:
        return "submitit"

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings(cluster="slurm")
