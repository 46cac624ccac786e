"""A submission that the scheduler refused for good: what was asked for, and what there is instead. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# submitit's parameter -> the resource that a user sets
_ASKED = {
    "partition": "slurm_partition",
    "account": "slurm_account",
    "qos": "slurm_qos",
    "gres": "gpu, gpu_model, gres",
    "constraint": "constraint",
    "mem": "mem_mb",
    "time": "runtime",
    "cpus_per_task": "threads",
    "nodes": "nodes",
    "additional_parameters": "slurm_extra, --submitit-sbatch",
}
_MOST_LINES = 20
SINFO_FORMAT = "%P|%l|%D|%c|%m|%G|%f"


def explain(cluster: str, refusal: str, parameters: Mapping[str, Any], offers: Sequence[str]) -> str:
    """The message for a job that was refused; offers: lines about what there is, none if shown beside."""
    values = {name: _plain(parameters.get(key) or "") for key, name in _ASKED.items()}
    asked = "; ".join(f"{name}={value}" for name, value in values.items() if value)
    lines = [f"{cluster} refused the job: {refusal}", f"asked for: {asked}"]
    if offers:
        lines += ["there is:", *(f"  {line}" for line in offers)]
    lines.append(
        "hint: these are resources of the rule, or default-resources and set-resources of the profile"
    )
    return "\n".join(lines)


def partitions(sinfo: str) -> list[str]:
    """One line for each kind of node, from `sinfo -h -o <SINFO_FORMAT>`."""
    found = []
    for row in sinfo.splitlines():
        cells = [cell.strip() for cell in row.split("|")]
        if len(cells) < 7:
            continue
        name, limit, nodes, cores, memory, gres, features = cells[:7]
        default = " (default)" if name.endswith("*") else ""
        found.append(
            f"partition {name.rstrip('*')}{default}: {nodes} nodes of {cores} cores, {memory} MB, "
            f"gres {_none(gres)}, features {_none(features)}; at most {limit}"
        )
    return _shortened(found)


def accounts(associations: str) -> list[str]:
    """One line for each account of the user, from `sacctmgr -n -P show assoc format=account,partition,qos`."""
    rows = (line.split("|") for line in associations.splitlines())
    found = {
        f"account {cells[0]}{f' in partition {cells[1]}' if cells[1] else ''}: qos {_none(cells[2])}": None
        for cells in rows
        if len(cells) >= 3
    }
    return _shortened(list(found))


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        chosen = {name: each for name, each in value.items() if name != "requeue"}  # ours, not the user's
        return " ".join(f"--{name}" if each is True else f"--{name}={each}" for name, each in chosen.items())
    return str(value)


def _none(text: str) -> str:
    return "none" if text in ("", "(null)") else text


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - _MOST_LINES
    return [*lines[:_MOST_LINES], f"... and {more} more (sinfo lists all)"] if more > 0 else lines
