"""The plugin's settings: one dataclass field is one `--submitit-...` flag and one profile key.

This module must not use `from __future__ import annotations`: Snakemake reads the field types at run time.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase

CLUSTERS = ("auto", "slurm", "local")
STATUS_SOURCES = ("auto", "sacct", "squeue", "scontrol")


def _help(text: str, **metadata: Any) -> dict[str, Any]:
    return {"help": text, **metadata}


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """User settings; times are in seconds unless the help says otherwise."""

    cluster: str = field(
        default="auto",
        metadata=_help(
            "Where jobs go: slurm, local (processes of this machine, by the same path), or auto (slurm where "
            "it is installed and configured, else local).",
            choices=list(CLUSTERS),
        ),
    )
    folder: Path = field(
        default=Path(".snakemake/submitit"),
        metadata=_help(
            "Folder for submission files, results, logs and the ledger of running jobs; must be on a file "
            "system that the compute nodes share."
        ),
    )
    array_parallelism: int = field(
        default=256, metadata=_help("How many tasks of one job array may run at the same time.")
    )
    array_size: int = field(
        default=0,
        metadata=_help(
            "Largest number of tasks in one array; 0 asks Slurm for its MaxArraySize, 1 switches arrays off."
        ),
    )
    status: str = field(
        default="auto",
        metadata=_help(
            "Who is asked for job states: sacct, squeue, scontrol, or auto (sacct if accounting works, then "
            "squeue, then scontrol; a job counts as lost only if none of them knows it).",
            choices=list(STATUS_SOURCES),
        ),
    )
    lost_grace: int = field(
        default=90,
        metadata=_help(
            "Seconds that a job must be unknown to the scheduler, without a result, before it counts as lost."
        ),
    )
    max_timeouts: int = field(
        default=3,
        metadata=_help(
            "How often a job that reaches its time limit is requeued; preemptions are not limited."
        ),
    )
    signal_delay: int = field(
        default=90,
        metadata=_help("Seconds before its time limit at which a job gets SIGUSR2, to save and be requeued."),
    )
    setup: str = field(
        default="",
        metadata=_help(
            "Shell lines that run on the node before each job, for instance `module load cuda`. A line that "
            "fails stops the job only with `|| exit 1` behind it."
        ),
    )
    sbatch: str = field(
        default="",
        metadata=_help(
            "More sbatch parameters for all jobs, as in `reservation=lab exclusive` (leading -- is optional)."
        ),
    )
    python: str = field(
        default="",
        metadata=_help(
            "What starts Python in a job, as in `apptainer exec image.sif python`; default: the Python that "
            "runs Snakemake.",
            env_var=True,
        ),
    )
    no_reattach: bool = field(
        default=False,
        metadata=_help("Do not adopt jobs that an earlier, killed Snakemake left running, but cancel them."),
    )
    keep_logs: bool = field(
        default=False,
        metadata=_help("Keep the logs of successful jobs too; those of failed jobs always stay."),
    )

    def check(self) -> None:
        """Raise ValueError for a number that makes no sense."""
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, int) and value < 0:
                raise ValueError(f"--submitit-{each.name.replace('_', '-')} {value}: must be 0 or more")


common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    # Variables travel in the environment: in the command line every user of the node could read them.
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=1,
)
