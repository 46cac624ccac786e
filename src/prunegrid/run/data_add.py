"""`prunegrid data add`: a benchmark fetched or given, in its canonical form, counted, read back and pinned in data.dvc."""

from __future__ import annotations

import importlib
import pkgutil
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from prunegrid.grid.data import outs
from prunegrid.grid.errors import unknown
from prunegrid.grid.options import Options
from prunegrid.run.data import dvc_md5
from prunegrid.run.files import ResultError, write_json, write_text
from prunegrid.run.hub import commit, fetch

ORGANISATIONS = ("lmms-lab", "lmms-lab-encoder")  # the second since 2026-07-30
HOME = "data/bench"


@dataclass(frozen=True)
class Request:
    """What the command was asked. `remote`: the DVC remote that the out goes to; never the one inside the repository."""

    root: Path
    task: str
    given: Path | None = None
    revision: str | None = None
    remote: str = "bench"
    again: bool = False


def add(request: Request) -> str:
    """Returns what was added, in words. Raises ResultError, TaskError or GridError; nothing is pinned then."""
    from prunegrid.benchmarks.canonical import write
    from prunegrid.benchmarks.tree import Tree
    from prunegrid.tasks import check_images

    option = Options.of(request.root / "conf").get("task", request.task, "prunegrid data add")
    path, file = option["data"], option["file"]
    benchmark = _benchmark(path)
    _check_remote(request.root, request.remote)
    folder = request.root / path
    fetched = request.root / HOME / ".fetch" / folder.name
    if request.again:
        shutil.rmtree(folder, ignore_errors=True)
    if not (folder / file).exists():
        source = {"files": "given"} if request.given else _fetched(benchmark, request, fetched)
        rows, edition = write(benchmark.read(Tree(request.given or fetched)), folder, file, benchmark.COUNTS)
        write_json(folder / "source.json", {**source, "rows": rows, "edition": edition})
    task = importlib.import_module(option["_target_"].rpartition(".")[0])
    made = getattr(task, option["_target_"].rpartition(".")[2]).from_config(option)
    samples = list(made.samples(folder))
    pictures = check_images(samples)
    pin(request.root, path, request.remote)
    shutil.rmtree(fetched, ignore_errors=True)
    return (
        f"{path}: {len(samples)} questions, {pictures} pictures, pinned in data.dvc (remote {request.remote})"
    )


def _benchmark(path: str) -> Any:
    """The module of a task's data folder."""
    import prunegrid.benchmarks

    tools = {"canonical", "parquet", "tree"}
    known = {m.name for m in pkgutil.iter_modules(prunegrid.benchmarks.__path__)} - tools
    home, _, name = path.rpartition("/")
    if home != HOME or name not in known:
        raise unknown("benchmark to add", name, known, f"data folder {path!r}")
    return importlib.import_module(f"prunegrid.benchmarks.{name}")


def _check_remote(root: Path, remote: str) -> None:
    """An out whose remote DVC does not know can be neither pushed nor checked out."""
    files = [root / ".dvc" / name for name in ("config", "config.local")]
    if not files[0].exists():
        return  # no DVC here: data.dvc alone pins
    known = " ".join(f.read_text(encoding="utf-8") for f in files if f.exists())
    if f'remote "{remote}"' not in known:
        raise ResultError(
            f"DVC knows no remote {remote!r}: say where large data go, `dvc remote add {remote} FOLDER-OR-URL`, "
            "or name another one with --remote"
        )


def _fetched(benchmark: Any, request: Request, folder: Path) -> dict[str, str]:
    remedy = f"run on a node with network, or give the files: `prunegrid data add {request.task} --from PATH`"
    names = [f"{organisation}/{benchmark.REPOSITORY}" for organisation in ORGANISATIONS]
    repository, revision = commit(names, request.revision, "dataset", remedy)
    fetch(repository, revision, folder, benchmark.PATTERNS, "dataset", remedy)
    return {"repository": repository, "revision": revision}


def pin_given(root: Path, path: str, remote: str) -> str:
    """Pin a folder that is no benchmark (conversations, weights of a method). Returns what was done, in words.

    path: relative to the project. Raises ResultError for what is no folder below it, for one that lies in another out or
    holds one, and for an unknown remote; data.dvc is as it was then.
    """
    here = Path(path)
    if here.is_absolute() or ".." in here.parts or not (root / here).is_dir():
        raise ResultError(f"{path} is no folder below {root}: give one, as in data/tune/llava_v1_5_mix665k")
    name = here.as_posix()
    for other in outs(root):
        if other != name and (here in Path(other).parents or Path(other) in here.parents):
            raise ResultError(f"{name} and the out {other} of data.dvc overlap: outs lie side by side")
    _check_remote(root, remote)
    pin(root, name, remote)
    return f"{name}: pinned in data.dvc (remote {remote}); `dvc push {name}` sends it, data.dvc is to be committed"


def pin(root: Path, path: str, remote: str) -> None:
    """Add or replace the out `path` of data.dvc, and put its files into DVC's cache where there is one."""
    file, folder = root / "data.dvc", root / path
    text = file.read_text(encoding="utf-8") if file.exists() else "outs: []\n"
    others = [out for out in yaml.safe_load(text)["outs"] if out["path"] != path]
    entry = _out(folder, path, remote)
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))

    def dump(outs: list[Any]) -> str:
        return head + yaml.safe_dump({"outs": outs}, sort_keys=False)

    if (root / ".dvc").is_dir():
        # DVC commits whole files alone, and the other outs of data.dvc need not be here: for a moment this one has its own.
        alone = root / f"pin_{folder.name}.dvc"
        try:
            write_text(file, dump(others))
            write_text(alone, yaml.safe_dump({"outs": [entry]}, sort_keys=False))
            _dvc(root, "commit", "--quiet", "--force", alone.name)
        finally:
            alone.unlink(missing_ok=True)
            write_text(file, text)
    write_text(file, dump([*others, entry]))


def _dvc(root: Path, *words: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "dvc", *words], cwd=root, check=False, capture_output=True, text=True
    )
    if run.returncode:
        said = " ".join(run.stderr.split()) or f"exit code {run.returncode}"
        raise ResultError(f"`dvc {' '.join(words)}` failed ({said}); data.dvc is as it was")


def _out(folder: Path, path: str, remote: str) -> Mapping[str, Any]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    size = sum(p.stat().st_size for p in files)
    return {
        "md5": dvc_md5(folder),
        "path": path,
        "size": size,
        "nfiles": len(files),
        "hash": "md5",
        "remote": remote,
    }
