"""A cell's model and processor, from a folder of safetensors or drawn at random; nothing is fetched here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunegrid.grid.cell import Cell
from prunegrid.grid.lock import NAME, pins
from prunegrid.run.errors import BuildError
from prunegrid.shape import ModelShape


def device_of(cell: Cell, asked: str) -> str:
    """`asked`, or for `auto` what conf/model says, or a GPU where there is one. BuildError if there is none such."""
    import torch

    wanted = cell.model["device"] if asked == "auto" else asked
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(wanted)):
        said = (
            f"--device {asked}"
            if asked != "auto"
            else f"conf/model/{cell.model['name']}.yaml: device={wanted}"
        )
        raise BuildError(f"{said} is no device; there are: auto, cpu, cuda, cuda:N (N a number from 0)")
    there = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda" if there else "cpu"
    if wanted.startswith("cuda") and not there:
        raise BuildError(
            f"model {cell.model['name']!r} runs on {wanted} and this machine has no usable GPU; "
            "run it on a GPU node, or say --device cpu"
        )
    number = int(str(wanted).partition(":")[2] or 0)
    if number and number >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise BuildError(f"--device {wanted}: this machine has no such GPU; there are: cuda:0 to cuda:{last}")
    return str(wanted)


def load(cell: Cell, root: Path, device: str) -> tuple[Any, Any]:
    """(model, processor) of a cell in its dtype on `device`, checked against the cell's shape; left padding."""
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    dtype = getattr(torch, cell.model["dtype"], None)
    if not isinstance(dtype, torch.dtype):
        raise BuildError(f"{_where(cell)}: dtype={cell.model['dtype']!r} is no torch dtype")
    shape(cell, root)
    made, processor = (_random if _is_random(cell) else _stored)(cell, root, dtype, device)
    if cell.model["aspect"] == "pad":
        from prunegrid.checkpoints import processing

        vision = made.config.vision_config
        processor = processing.processor(processor.tokenizer, vision.image_size, vision.patch_size)
    processor.tokenizer.padding_side = "left"
    return made.eval(), processor


def _stored(cell: Cell, root: Path, dtype: Any, device: str) -> tuple[Any, Any]:
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    path = folder(cell, root)
    try:
        made = LlavaForConditionalGeneration.from_pretrained(
            path, dtype=dtype, use_safetensors=True, attn_implementation="sdpa", local_files_only=True
        )
        processor = AutoProcessor.from_pretrained(path, use_fast=False, backend="pil", local_files_only=True)
    except OSError as error:
        raise BuildError(f"{_where(cell)}: {path} cannot be loaded: {error}") from error
    made.to(device)  # type: ignore[arg-type]
    return made, processor


def _random(cell: Cell, root: Path, dtype: Any, device: str) -> tuple[Any, Any]:
    """Full shape, weights from the cell's seed; the folder's own processor where there is one, else a stand-in."""
    from transformers import AutoProcessor

    from prunegrid.checkpoints.random_weights import random_llava
    from prunegrid.checkpoints.stand_in import stand_in

    made: Any = random_llava(config(cell, root), cell.seed, dtype, device)
    made.set_attn_implementation("sdpa")
    path = root / cell.model["path"]
    if path.exists():
        return made, AutoProcessor.from_pretrained(path, use_fast=False, backend="pil", local_files_only=True)
    vision, image = made.config.vision_config, made.config.image_token_id
    return made, stand_in(vision.image_size, vision.patch_size, image)


def folder(cell: Cell, root: Path) -> Path:
    """The folder of a cell's checkpoint: there, pinned, and of safetensors. BuildError with the remedy otherwise."""
    where, path, name = _where(cell), root / cell.model["path"], cell.model["name"]
    if cell.model["source"] and cell.model["revision"] is None:
        raise BuildError(
            f"{where}: {name} has no pinned revision, and what it is would not be known: run `prunegrid model add {name}` "
            "once on a node with network (or with --from PATH), then plan again"
        )
    if not path.exists():
        remedy = "its path is wrong"
        if cell.model["data"]:
            remedy = f"fetch it with `dvc pull {cell.model['data']}`"
        elif cell.model["source"]:
            remedy = f"fetch it with `prunegrid model add {name}` on a node with network"
        raise BuildError(f"{where}: {path} is missing; {remedy}")
    if not list(path.glob("*.safetensors")):
        files = ", ".join(sorted(p.name for p in path.iterdir())) or "nothing"
        raise BuildError(
            f"{where}: {path} holds no .safetensors file ({files}); other formats can run code and are not read: "
            "save the model anew with save_pretrained, or `prunegrid model convert` LLaVA's own layouts"
        )
    if cell.model["source"]:
        _check_pinned(cell, root)
    return path


def _check_pinned(cell: Cell, root: Path) -> None:
    """The lock still pins what the cell was planned with, and every file has the size that was locked."""
    name, pin = cell.model["name"], pins(root / "conf").get(cell.model["name"])
    if pin is None or pin["revision"] != cell.model["revision"]:
        raise BuildError(
            f"{name}: conf/{NAME} pins {pin and pin['revision']}, the cell was planned with {cell.model['revision']}; "
            "plan its study again"
        )
    home = (root / cell.model["path"]).parent
    for file, said in pin["files"].items():
        there = (home / file).stat().st_size if (home / file).exists() else None
        if there != said["size"]:
            raise BuildError(
                f"{home / file} has {there} bytes, conf/{NAME} says {said['size']}; run `prunegrid model add {name}`"
            )


def shape(cell: Cell, root: Path) -> ModelShape:
    """The shape of a cell's model. BuildError if it is not what conf/model says."""
    if not _is_random(cell):
        folder(cell, root)
    made = ModelShape.from_config(config(cell, root))
    there = {
        "tokens": made.visual_tokens,
        "side": made.vision.side,
        "vision_layers": made.vision.layers,
        "llm_layers": made.llm.layers,
    }
    wrong = {k: (cell.model[k], v) for k, v in there.items() if cell.model[k] != v}
    if wrong:
        said = ", ".join(f"{k}={a} but the checkpoint has {b}" for k, (a, b) in wrong.items())
        raise BuildError(f"{_where(cell)}: {said}; write what the checkpoint has")
    return made


def config(cell: Cell, root: Path) -> Mapping[str, Any]:
    """The HuggingFace configuration: the checkpoint's own, or for random weights without one that of conf/model."""
    file = root / cell.model["path"] / "config.json"
    if _is_random(cell) and not file.exists():
        if not cell.model["config"]:
            raise BuildError(f"{_where(cell)}: weights=random needs `config:`, the configuration to build")
        return dict(cell.model["config"])
    try:
        read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        ModelShape.from_config(read)
    except (OSError, ValueError) as error:
        raise BuildError(f"{file} is missing or broken ({error}); fetch the model again") from error
    return read


def _is_random(cell: Cell) -> bool:
    return bool(cell.model["weights"] == "random")


def _where(cell: Cell) -> str:
    return f"conf/model/{cell.model['name']}.yaml"
