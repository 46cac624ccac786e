"""Snakemake executor plugin that runs jobs through submitit, on Slurm or on this machine."""

from .executor import Executor
from .settings import ExecutorSettings, common_settings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]
