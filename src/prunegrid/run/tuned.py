"""What a cell's tuning leaves, and how it goes into the loaded model. No training here: predictions import it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prunegrid.grid.cell import Cell
from prunegrid.grid.tuning import chain
from prunegrid.run.errors import BuildError


def folder(results: Path, adapter: str) -> Path:
    """Where a finished tuning lies."""
    return results / "adapters" / adapter


def files(cell: Cell, results: Path) -> list[Path]:
    """The weights that were trained for a cell, in the order in which they go in. BuildError if one is missing."""
    found = [folder(results, str(t.adapter_id())) / "weights.safetensors" for t in chain(cell)]
    for file in found:
        if not file.exists():
            raise BuildError(
                f"{file} is missing: {cell.id()} is evaluated with it; "
                f"run `snakemake {file}`, or `prunegrid tune` its cell"
            )
    return found


def values(cell: Cell) -> dict[str, Any]:
    """Parameters of a tuned cell's reducer: own weights come from the tuning, not from a file or from nowhere."""
    from prunegrid.run.build import resolve

    if cell.adapter_id() is None:
        return {}
    kind = resolve(cell.reducer["_target_"], f"reducer {cell.reducer['name']!r}")
    learned = "untrained" in getattr(kind, "__dataclass_fields__", {})
    return {"untrained": True} if learned and cell.reducer.get("weights") is None else {}


def put_in(host: Any, found: Sequence[Path]) -> None:
    """Bring a `ReducedVLM` to where the trainings of `found` left it."""
    if not found:
        return
    from prunegrid.tune.adapters import put_in as into
    from prunegrid.tune.errors import TuneError

    try:
        for file in found:
            host.model = into(host.model, file, host.host.module)
    except TuneError as error:
        raise BuildError(str(error)) from error
    host.model.eval()


def provenance(found: Sequence[Path]) -> Mapping[str, str]:
    """adapter id -> sha256 of its weights: what the answers of a tuned cell stand on."""
    from prunegrid.run.files import file_hash

    return {file.parent.name: file_hash(file) for file in found}
