"""From what people type to a cell: a whole id, the beginning of one, or the path of a cell.yaml."""

from __future__ import annotations

from pathlib import Path

from prunegrid.grid.errors import GridError, unknown


def find(results: Path, prefix: str) -> str:
    """The one cell whose id starts with `prefix`. Unknown or ambiguous is an error that lists near ones."""
    known = sorted(p.parent.name for p in (results / "cells").glob("*/cell.yaml"))
    hits = [k for k in known if k.startswith(prefix)]
    if prefix in hits:
        return prefix
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise GridError(f"{prefix!r} is the beginning of {len(hits)} cells: {', '.join(hits[:8])}")
    raise unknown("cell", prefix, known, f"{results}/cells")


def cell_file(results: Path, named: str) -> Path:
    """The cell.yaml that `named` means: itself, if it is the path of one, or that of the cell which `find` finds."""
    return Path(named) if named.endswith(".yaml") else results / "cells" / find(results, named) / "cell.yaml"
