"""`prunegrid model add`: a model's files under data/models, as safetensors, pinned in conf/models.lock.yaml.

Run once on a node with network; what the lock pins is then fetched anywhere. Jobs read the folder and ask no hub.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from prunegrid.grid.cell import digest
from prunegrid.grid.lock import NAME, pins
from prunegrid.grid.options import Options
from prunegrid.run.files import ResultError, stream_sha256, write_json, write_text
from prunegrid.run.hub import commit, fetch

TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json")
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model*.bin.index.json")
PATTERNS: Mapping[str, tuple[str, ...]] = {
    "llava": (
        *WEIGHTS,
        *TOKENIZER,
        "*config.json",
        "adapter_model.*",
        "mm_projector.bin",
        "non_lora_trainables.bin",
    ),
    "base": (*WEIGHTS, *TOKENIZER, "*config.json"),
    "clip": (*WEIGHTS, *TOKENIZER, "*config.json", "vocab.json", "merges.txt"),
    "tokenizer": (*TOKENIZER, "*processor_config.json", "preprocessor_config.json"),
}
PINNED = (".safetensors", "tokenizer.json")  # what decides an answer; other files name library versions


@dataclass(frozen=True)
class Request:
    """What the command was asked. `given`: a folder with a subfolder per role, or the llava role alone."""

    root: Path
    name: str
    given: Path | None = None
    again: bool = False  # fetch anew and pin what is there today
    pinned: bool = False  # only what the lock pins: the workflow's rule


def add(request: Request) -> dict[str, Any]:
    """The model's lock entry, once its files are there and are what it says. Raises ResultError, CheckpointError."""
    conf, name = request.root / "conf", request.name
    option = Options.of(conf).get("model", name, "prunegrid model add")
    home = (request.root / option["path"]).parent
    pin = None if request.again else pins(conf).get(name)
    if not option["source"]:
        raise ResultError(f"conf/model/{name}.yaml has no source to add; its data are pulled by `dvc pull`")
    if pin and _there(home, pin):
        return pin
    if pin is None and request.pinned:
        raise ResultError(
            f"{name} has no pin in conf/{NAME}: run `prunegrid model add {name}` once by hand, then start again, because "
            "the revision is part of every cell's id"
        )
    work = home / ".fetch"
    sources = _given(request.given, option) if request.given else _fetched(option, pin, work, name)
    for part in ("llava", "clip"):
        shutil.rmtree(home / part, ignore_errors=True)
    folders = {role: Path(found["folder"]) for role, found in sources.items()}
    direct = _assemble(folders, home, keep=request.given is not None)
    made = _entry(home, sources, direct and request.given is None)
    if pin and made["files"] != pin["files"]:
        raise ResultError(
            f"{home} is not what conf/{NAME} pins for {name} ({_differing(made, pin)}); if the new files are meant, run "
            f"`prunegrid model add {name} --again`"
        )
    _write(conf, name, pin or made)
    shutil.rmtree(work, ignore_errors=True)
    return pin or made


def _there(home: Path, pin: Mapping[str, Any]) -> bool:
    return all(
        (home / file).exists() and (home / file).stat().st_size == said["size"]
        for file, said in pin["files"].items()
    )


def _given(given: Path, option: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """role -> where it is, from files that are there already."""
    if not given.is_dir():
        raise ResultError(f"--from {given}: no such folder")
    alone = given if not (given / "llava").is_dir() else given / "llava"
    found = {role: {"folder": alone if role == "llava" else given / role} for role in option["source"]}
    lost = [str(f["folder"]) for f in found.values() if not f["folder"].is_dir()]
    if lost:
        wanted = ", ".join(f"{role}/ ({repository})" for role, repository in option["source"].items())
        raise ResultError(f"--from {given}: {', '.join(lost)} missing; it needs the folders {wanted}")
    return {role: {"repository": None, "revision": None, **f} for role, f in found.items()}


def _fetched(
    option: Mapping[str, Any], pin: Mapping[str, Any] | None, work: Path, name: str
) -> dict[str, dict[str, Any]]:
    """role -> where it is, fetched at the pinned commits, or at today's."""
    remedy = f"run on a node with network, or give the files: `prunegrid model add {name} --from PATH`"
    found: dict[str, dict[str, Any]] = {}
    for role, repository in option["source"].items():
        old = (pin or {"sources": {}})["sources"].get(role, {})
        if pin and not old.get("revision"):
            raise ResultError(f"{name} was added from a folder and is not here; {remedy}")
        asked = old.get("revision") or (option["revision"] if role == "llava" else None)
        repository, revision = commit([old.get("repository") or repository], asked, "model", remedy)
        fetch(repository, revision, work / role, PATTERNS[role], "model", remedy)
        found[role] = {"repository": repository, "revision": revision, "folder": work / role}
    return found


def _assemble(folders: Mapping[str, Path], home: Path, keep: bool) -> bool:
    """Write home/llava and home/clip; True if the llava folder was taken as it is."""
    from prunegrid.checkpoints.clip import convert_clip
    from prunegrid.checkpoints.convert import Sources, convert

    convert_clip(folders["clip"], home / "clip")
    direct = _is_converted(folders["llava"])
    if direct:
        shutil.copytree(
            folders["llava"], home / "llava", ignore=shutil.ignore_patterns("*.bin", ".cache"),
            copy_function=shutil.copy2 if keep else _linked,
        )  # fmt: skip
    else:
        parts = Sources(folders["llava"], folders.get("base"), folders["clip"], folders.get("tokenizer"))
        print(f"converting a {convert(parts, home / 'llava')} checkpoint into {home / 'llava'}", flush=True)
    return direct


def _linked(source: str, target: str) -> None:
    os.link(source, target)  # same disk: no second copy of the weights


def _is_converted(folder: Path) -> bool:
    config = folder / "config.json"
    said = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
    return "LlavaForConditionalGeneration" in (said.get("architectures") or [])


def _entry(home: Path, sources: Mapping[str, Mapping[str, Any]], direct: bool) -> dict[str, Any]:
    """`revision` is the hub's commit, or the digest of the files where they were converted or given."""
    named = sorted(
        p for part in ("llava", "clip") for p in (home / part).rglob("*") if p.name.endswith(PINNED)
    )
    files = {
        p.relative_to(home).as_posix(): {"size": p.stat().st_size, "sha256": stream_sha256(p)} for p in named
    }
    content = f"content-{digest({name: f['sha256'] for name, f in files.items()}, 16)}"
    kept = {role: {k: s[k] for k in ("repository", "revision")} for role, s in sources.items()}
    return {"revision": sources["llava"]["revision"] if direct else content, "sources": kept, "files": files}


def _differing(made: Mapping[str, Any], pin: Mapping[str, Any]) -> str:
    every = sorted({*made["files"], *pin["files"]})
    return ", ".join([f for f in every if made["files"].get(f) != pin["files"].get(f)][:3])


def _write(conf: Path, name: str, entry: Mapping[str, Any]) -> None:
    head = "# Written by `prunegrid model add`: what every model's files are. Keep it in git.\n"
    every = dict(sorted({**pins(conf), name: dict(entry)}.items()))
    write_text(conf / NAME, head + yaml.safe_dump(every, sort_keys=False))


def stamp(path: Path, entry: Mapping[str, Any]) -> None:
    """What the workflow waits for."""
    write_json(path, {"revision": entry["revision"]})
