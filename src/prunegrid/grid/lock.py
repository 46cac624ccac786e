"""What `prunegrid model add` fetched, pinned: conf/models.lock.yaml, kept in git beside the options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunegrid.grid import plain
from prunegrid.grid.errors import GridError

NAME = "models.lock.yaml"


def pins(conf: Path) -> dict[str, dict[str, Any]]:
    """model name -> {revision, sources: {role: {repository, revision}}, files: {path: {size, sha256}}}."""
    file = conf / NAME
    if not file.exists():
        return {}
    try:
        read = plain.read(file, f"conf/{NAME}") or {}
        return {str(name): dict(pin, revision=str(pin["revision"])) for name, pin in read.items()}
    except (AttributeError, TypeError, KeyError) as error:
        raise GridError(f"{file} cannot be read ({error!r}); restore it from git") from error


def locked(conf: Path, model: Mapping[str, Any]) -> dict[str, Any]:
    """A model option with its pinned revision: what the weights are, and so a part of every cell's id.

    Random weights have none, and no published number ever stands beside them. A model that was never added keeps
    `revision: null`: it can be planned, not predicted.
    """
    if model["weights"] not in ("checkpoint", "random"):
        raise GridError(
            f"conf/model/{model['name']}.yaml: weights={model['weights']!r} must be checkpoint or random"
        )
    if model["aspect"] not in ("checkpoint", "pad"):
        raise GridError(
            f"conf/model/{model['name']}.yaml: aspect={model['aspect']!r} must be checkpoint or pad"
        )
    if model["weights"] == "random":
        return {**model, "revision": None, "published": "none"}
    pin = pins(conf).get(model["name"]) if model["source"] else None
    if pin is None:
        return dict(model)
    asked, got = model["revision"], pin["sources"].get("llava", {}).get("revision")
    if asked not in (None, got):
        raise GridError(
            f"conf/model/{model['name']}.yaml asks for revision {asked}, {NAME} pins {got}; "
            f"run `prunegrid model add {model['name']} --again`"
        )
    return {**model, "revision": pin["revision"]}
