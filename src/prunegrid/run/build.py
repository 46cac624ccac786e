"""From the plain values of a cell to live objects: reducer, task, model. `_target_` resolves inside listed packages."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunegrid.grid.cell import Cell
from prunegrid.grid.code import ALLOWED, packages
from prunegrid.grid.errors import unknown
from prunegrid.shape import ModelShape
from prunegrid.tasks.base import Task


class BuildError(ValueError):
    """A cell that cannot be built."""


def resolve(target: str, where: str) -> Any:
    """The object of a dotted name inside prunegrid or a package that the user listed."""
    if target.split(".")[0] not in packages():
        raise BuildError(
            f"{where}: _target_ {target!r} is outside {', '.join(packages())}; list its package in ${ALLOWED} to allow it"
        )
    module, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BuildError(f"{where}: _target_ {target!r} does not exist ({error})") from error


def reducer(cell: Cell, values: Mapping[str, Any] | None = None) -> Any:
    """The reducer of a cell; `values` replace parameters (a budget taken from another cell)."""
    where = f"conf/reducer/{cell.reducer['name']}.yaml"
    kind = resolve(cell.reducer["_target_"], where)
    given = {k: v for k, v in cell.reducer.items() if k not in ("name", "_target_")} | dict(values or {})
    known = set(getattr(kind, "__dataclass_fields__", {}))
    for key in set(given) - known:
        raise unknown(f"option of reducer {cell.reducer['name']!r}", key, known, where)
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})
    except (TypeError, ValueError) as error:
        raise BuildError(f"{where} as {cell.id()} has it: {error}") from error


def task(cell: Cell) -> Task:
    """The task of a cell."""
    kind = resolve(cell.task["_target_"], f"task {cell.task['name']!r}")
    made: Task = kind.from_config(cell.task)
    return made


def model(cell: Cell, root: Path, device: str) -> tuple[Any, Any]:
    """(model, processor) of a cell: safetensors only, in the cell's dtype, checked against the cell's shape."""
    import torch
    from transformers import AutoProcessor, LlavaForConditionalGeneration
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    path = checkpoint(cell, root)
    dtype = getattr(torch, cell.model["dtype"], None)
    if not isinstance(dtype, torch.dtype):
        raise BuildError(
            f"conf/model/{cell.model['name']}.yaml: dtype={cell.model['dtype']!r} is no torch dtype"
        )
    options: dict[str, Any] = {} if cell.model["revision"] is None else {"revision": cell.model["revision"]}
    try:
        made = LlavaForConditionalGeneration.from_pretrained(
            path, dtype=dtype, use_safetensors=True, attn_implementation="sdpa", **options
        )
        processor = AutoProcessor.from_pretrained(path, use_fast=False, backend="pil", **options)
    except OSError as error:
        raise BuildError(f"conf/model/{cell.model['name']}.yaml: {path} cannot be loaded: {error}") from error
    processor.tokenizer.padding_side = "left"
    made.to(device)  # type: ignore[arg-type]
    return made.eval(), processor


def checkpoint(cell: Cell, root: Path) -> str:
    """The folder or hub name of a cell's model. A folder must hold safetensors of the shape that conf/model states."""
    where, path = f"conf/model/{cell.model['name']}.yaml", root / cell.model["path"]
    if not path.exists():
        if cell.model["data"]:
            raise BuildError(f"{where}: {path} is missing; fetch it with `dvc pull {cell.model['data']}`")
        if Path(cell.model["path"]).is_absolute():
            raise BuildError(f"{where}: path {path} does not exist")
        return str(cell.model["path"])
    if not list(path.glob("*.safetensors")):
        files = ", ".join(sorted(p.name for p in path.iterdir())) or "nothing"
        raise BuildError(
            f"{where}: {path} holds no .safetensors file ({files}); other formats can run code and are not read: "
            "save the model anew with save_pretrained"
        )
    shape = shape_of(path)
    there = {
        "tokens": shape.visual_tokens,
        "side": shape.vision.side,
        "vision_layers": shape.vision.layers,
        "llm_layers": shape.llm.layers,
    }
    wrong = {k: (cell.model[k], v) for k, v in there.items() if cell.model[k] != v}
    if wrong:
        said = ", ".join(f"{k}={a} but the checkpoint has {b}" for k, (a, b) in wrong.items())
        raise BuildError(f"{where}: {said}; write what the checkpoint has")
    return str(path)


def shape_of(path: Path) -> ModelShape:
    """The shape that a checkpoint folder's config.json states."""
    file = path / "config.json"
    try:
        return ModelShape.from_config(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise BuildError(f"{file} is missing or broken ({error}); fetch the model again") from error


def check_sites(cell: Cell, made: Any, path: str) -> None:
    """Raise BuildError where a reducer asks for a layer or a grid that the model in the folder `path` does not have."""
    from prunegrid.reduce.places import Place, check_probe, resolve_layer

    if not Path(path).exists():
        return  # on the hub: its shape is known once it is loaded
    shape = shape_of(Path(path))
    try:
        for site in made.sites(shape):
            inside = site.place in (Place.PROMPT, Place.CACHE)
            layers, tower = (shape.llm.layers, "LLM") if inside else (shape.vision.layers, "ViT")
            if site.layer is not None:
                resolve_layer(site.layer, layers, tower)
            check_probe(site, layers, tower)
    except ValueError as error:
        raise BuildError(
            f"reducer {cell.reducer['name']!r} on model {cell.model['name']!r}: {error}"
        ) from error
