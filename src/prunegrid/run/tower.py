"""CLIP's text tower of a cell's model, for the reducers that read the prompt; nothing is fetched here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunegrid.grid.cell import Cell
from prunegrid.run.errors import BuildError

if TYPE_CHECKING:
    from prunegrid.reduce import TextTower


def text_tower(cell: Cell, root: Path, device: str, reducer: Any) -> TextTower | None:
    """The tower in fp32 on `device`; None for a reducer that reads no text. BuildError where the folder that conf/model
    names as `clip` holds none."""
    from transformers import AutoTokenizer, CLIPModel

    from prunegrid.reduce import TextTower

    if not reducer.reads_text:
        return None
    where = f"conf/model/{cell.model['name']}.yaml"
    if cell.model.get("clip") is None:
        raise BuildError(
            f"{where}: reducer {cell.reducer['name']!r} reads the prompt with CLIP's text tower; name the folder of the "
            "whole CLIP of the model's vision tower as `clip:`"
        )
    path = root / cell.model["clip"]
    if not list(path.glob("*.safetensors")):
        remedy = f"`dvc pull {cell.model['data']}`" if cell.model["data"] else "`prunegrid model add`"
        raise BuildError(f"{where}: {path} holds no CLIP in safetensors; fetch it with {remedy}")
    try:
        loaded: Any = CLIPModel.from_pretrained(
            path, dtype="float32", use_safetensors=True, local_files_only=True, output_loading_info=True
        )
        clip, seen = loaded
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise BuildError(f"{where}: {path} cannot be loaded: {error}") from error
    if seen["missing_keys"]:
        lacks = ", ".join(sorted(seen["missing_keys"])[:3])
        raise BuildError(f"{where}: {path} is no whole CLIP: it lacks {lacks}, ...; fetch it again")
    if not tokenizer.is_fast:
        raise BuildError(
            f"{where}: the tokenizer in {path} does not tell where its tokens stand (no tokenizer.json)"
        )
    clip.vision_model.encoder = None  # only its last norm is needed
    return TextTower(clip.eval().requires_grad_(False).to(device), tokenizer)
