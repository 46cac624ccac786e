"""From Snakemake resources to submitit parameters: one pure function, and the errors a user can act on."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

# What a rule may ask for, and how it is read. The texts are printed in error messages.
KNOWN = {
    "runtime": "time limit in minutes (Snakemake also reads 90m, 2h, 1d)",
    "mem_mb": "memory per node in MB (Snakemake also reads mem='8GB')",
    "gpu": "number of GPUs per node",
    "gpu_model": "GPU type as Slurm names it, e.g. a100; needs gpu",
    "nodes": "number of nodes",
    "slurm_partition": "partition, or several separated by commas",
    "slurm_account": "account to charge",
    "slurm_qos": "quality of service",
    "constraint": "node features, e.g. 'a100|h100'",
    "gres": "generic resources other than GPUs, e.g. 'lscratch:100'; with GPUs only if gpu is not set",
    "slurm_extra": "further sbatch parameters, e.g. '--reservation=lab --exclusive'",
}
# Snakemake's own bookkeeping, which is no request to the scheduler.
SNAKEMAKE_OWN = frozenset({"_cores", "_nodes", "tmpdir", "mem", "mem_mib", "disk", "disk_mb", "disk_mib"})

# sbatch options that the plugin sets itself, and where a user sets them instead.
RESERVED = {
    "time": "resource runtime",
    "mem": "resource mem_mb",
    "mem-per-cpu": "resource mem_mb",
    "mem-per-gpu": "resource mem_mb",
    "cpus-per-task": "threads",
    "nodes": "resource nodes",
    "ntasks": "threads",
    "ntasks-per-node": "threads",
    "gres": "resource gpu or gres",
    "gpus": "resource gpu",
    "gpus-per-node": "resource gpu",
    "gpus-per-task": "resource gpu",
    "partition": "resource slurm_partition",
    "account": "resource slurm_account",
    "qos": "resource slurm_qos",
    "constraint": "resource constraint",
    "signal": "setting --submitit-signal-delay",
    "array": "setting --submitit-array-size",
    "job-name": "nothing: the plugin names jobs",
    "comment": "nothing: the plugin marks its jobs with it",
    "output": "setting --submitit-folder",
    "error": "setting --submitit-folder",
    "open-mode": "nothing: logs are appended",
    "requeue": "nothing: jobs are requeued",
    "wrap": "nothing",
    "parsable": "nothing",
    "wait": "nothing",
}
DEFAULT_RUNTIME_MIN = 60  # submitit's own default, 5 minutes, kills jobs by surprise

# Slurm may signal a job that has just started. Until submitit's own handler is there, SIGUSR2 would kill it.
_SIGNAL_PROOF = ("/bin/sh", "-c", "trap '' USR2; exec \"$@\"", "sh")


class ResourceError(ValueError):
    """A rule asks for something that does not exist or contradicts itself."""


@dataclass(frozen=True)
class Options:
    """Settings that shape every job's parameters.

    signal_delay_s: seconds before the time limit at which the job is signalled.
    setup: shell lines run on the node before the job.
    sbatch: further sbatch parameters, already parsed.
    array_parallelism: tasks of one array that may run at once.
    """

    signal_delay_s: int = 90
    setup: tuple[str, ...] = ()
    sbatch: Mapping[str, str | bool] = field(default_factory=dict)
    array_parallelism: int = 256


def submitit_parameters(
    resources: Mapping[str, Any],
    threads: int,
    *,
    cluster: str,
    options: Options,
    limits: Collection[str] = (),
) -> dict[str, Any]:
    """Parameters for submitit's SlurmExecutor or LocalExecutor (their own names, not AutoExecutor's).

    resources: a job's Snakemake resources; threads: CPU cores of the job.
    cluster: "slurm" or "local"; limits: names given to `snakemake --resources`, which only limit
    what runs at once and are no request to the scheduler.
    Raises ResourceError for unknown, malformed or contradictory resources; its text lists what exists.
    """
    _reject_unknown(resources, limits)
    gpus = _whole(resources, "gpu", 0)
    # A rule whose parts have the GPUs says gpu=0: a model named for all of the rule's jobs is then none of its own.
    model = "" if "gpu" in resources and not gpus else _text(resources, "gpu_model")
    nodes = _whole(resources, "nodes", 1, least=1)
    runtime = _whole(resources, "runtime", DEFAULT_RUNTIME_MIN, least=1)
    # all checks are made for both clusters: what passes here must not fail on Slurm
    requests = {
        "gres": _gres(gpus, model, _text(resources, "gres")),
        "mem": f"{memory}MB" if (memory := _whole(resources, "mem_mb", 0)) else "",
        "partition": _text(resources, "slurm_partition"),
        "account": _text(resources, "slurm_account"),
        "qos": _text(resources, "slurm_qos"),
        "constraint": _text(resources, "constraint"),
    }
    extra = parse_sbatch(_text(resources, "slurm_extra"), "resource slurm_extra")
    if cluster == "local":
        return _local_parameters(runtime, nodes, gpus, options)
    parameters = _slurm_parameters(runtime, nodes, max(1, int(threads)), options)
    parameters["additional_parameters"] = _additional({**options.sbatch, **extra})
    return {**parameters, **{name: value for name, value in requests.items() if value}}


def parse_sbatch(text: str, where: str) -> dict[str, str | bool]:
    """`--reservation=lab --exclusive` (or without dashes) as {"reservation": "lab", "exclusive": True}.

    Raises ResourceError for short options, loose words and options that the plugin sets itself.
    """
    found: dict[str, str | bool] = {}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ResourceError(f"{where}: cannot read {text!r}: {error}") from None
    for word in words:
        if word.startswith("-") and not word.startswith("--"):
            raise ResourceError(f"{where}: write {word!r} in its long form, as --name=value")
        name, _, value = word.removeprefix("--").partition("=")
        name = name.replace("_", "-")
        if name in RESERVED:
            raise ResourceError(f"{where}: --{name} is set by the plugin; use {RESERVED[name]}")
        if not name.replace("-", "").isalnum():
            raise ResourceError(f"{where}: {word!r} is no sbatch parameter; write --name=value or --name")
        found[name] = value if "=" in word else True
    return found


def _slurm_parameters(runtime_min: int, nodes: int, cores: int, options: Options) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "time": runtime_min,
        "nodes": nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": cores,
        "signal_delay_s": _signal_delay(runtime_min, options),
        "array_parallelism": options.array_parallelism,
        "stderr_to_stdout": True,
        "wckey": None,  # submitit sends wckey=submitit, which sites that enforce wckeys refuse
        "srun_args": _srun_args(cores, nodes),
    }
    if options.setup:
        parameters["setup"] = list(options.setup)
    return parameters


def _local_parameters(runtime_min: int, nodes: int, gpus: int, options: Options) -> dict[str, Any]:
    if nodes > 1:
        raise ResourceError(f"nodes={nodes}: cluster=local has one node")
    parameters: dict[str, Any] = {
        "timeout_min": runtime_min,
        "nodes": 1,
        "tasks_per_node": 1,
        "gpus_per_node": gpus,
        "signal_delay_s": _signal_delay(runtime_min, options),
        "stderr_to_stdout": True,
    }
    if options.setup:
        parameters["setup"] = list(options.setup)
    return parameters


def _signal_delay(runtime_min: int, options: Options) -> int:
    # At most half of the limit: Slurm would signal at once, submitit's local twin never.
    return min(options.signal_delay_s, runtime_min * 30)


def _srun_args(cores: int, nodes: int) -> list[str]:
    # Since Slurm 22.05 srun does not inherit --cpus-per-task: without this the job gets one core.
    args = [f"--cpus-per-task={cores}", "--open-mode=append"]
    if nodes > 1:  # one Snakemake on the first node; the rule's own srun or torchrun reaches the others
        args += ["--nodes=1", "--ntasks=1"]
    return [*args, *_SIGNAL_PROOF]


def _additional(extra: dict[str, str | bool]) -> dict[str, str | bool]:
    return extra if "no-requeue" in extra else {"requeue": True, **extra}


def _gres(gpus: int, model: str, gres: str) -> str:
    # --gres=gpu:N works with every select plugin; --gpus-per-node needs cons_tres.
    names_gpu = any(part.split(":")[0].strip() == "gpu" for part in gres.split(","))
    if model and not gpus:
        raise ResourceError(f"gpu_model={model} without gpu: say how many with gpu=N")
    if gpus and names_gpu:
        raise ResourceError(f"gpu={gpus} and gres={gres} both ask for GPUs: keep one of them")
    wanted = [f"gpu:{model}:{gpus}" if model else f"gpu:{gpus}"] if gpus else []
    return ",".join([*wanted, gres] if gres else wanted)


def _whole(resources: Mapping[str, Any], name: str, default: int, least: int = 0) -> int:
    value = resources.get(name)
    if value is None or value == "":
        return default
    try:
        number = int(value)
        exact = not isinstance(value, bool) and number == float(value)
    except (TypeError, ValueError):
        exact, number = False, 0
    if not exact or number < least:
        raise ResourceError(f"{name}={value!r}: {KNOWN[name]}; must be a whole number, at least {least}")
    return number


def _text(resources: Mapping[str, Any], name: str) -> str:
    value = resources.get(name)
    return "" if value is None else str(value).strip()


def _reject_unknown(resources: Mapping[str, Any], limits: Collection[str]) -> None:
    for name in sorted(set(resources) - set(KNOWN) - SNAKEMAKE_OWN - set(limits)):
        close = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]}?" if close else ""
        known = "\n".join(f"  {known_name}: {text}" for known_name, text in KNOWN.items())
        raise ResourceError(
            f"unknown resource {name}={resources[name]!r}.{hint} Known, besides threads:\n{known}\n"
            "A resource that only limits how many jobs run at once must be named in --resources."
        )
