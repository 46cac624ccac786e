"""Which data a cell reads: md5 of the outs of data.dvc, without importing dvc."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from prunegrid.grid import plain
from prunegrid.grid.errors import GridError


def outs(root: Path) -> dict[str, str]:
    """path -> md5 of every out of root/data.dvc."""
    file = root / "data.dvc"
    if not file.exists():
        raise GridError(f"{file} is missing: it pins the data; restore it from git")
    try:
        listed = plain.read(file, str(file))
        return {out["path"]: out["md5"] for out in listed["outs"]}
    except GridError as error:
        raise GridError(f"{error}; or restore it from git") from error
    except (TypeError, KeyError) as error:
        raise GridError(f"{file} cannot be read ({error!r}); restore it from git") from error


def stamp(path: str) -> str:
    """Name of the stamp file of an out: data/mini/scenes -> data_mini_scenes."""
    return "_".join(Path(path).parts)


def digests(known: Mapping[str, str], wanted: Iterable[str | None]) -> dict[str, str]:
    """Those of the `known` outs that hold the wanted paths. A path that none holds is an error that lists them."""
    found = {}
    for path in wanted:
        if path is None:
            continue
        if ".." in PurePosixPath(path).parts:
            raise GridError(f"data path {path!r} may not hold `..`: it has to lie inside an out of data.dvc")
        holder = next((o for o in known if path == o or path.startswith(f"{o}/")), None)
        if holder is None:
            raise GridError(
                f"data.dvc has no out for {path!r}; it has: {', '.join(known) or 'none'}. "
                "Add the data first (README, section Real models and benchmarks)"
            )
        found[holder] = known[holder]
    return found
