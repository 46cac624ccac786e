"""Typed structured configs: hydra refuses a wrong type or an unknown key before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class ModelConfig:
    """conf/model/<name>.yaml."""

    name: str = MISSING
    path: str = MISSING  # folder, or hub repository
    data: str | None = None  # the out of data.dvc that holds it
    source: dict[str, str] = field(default_factory=dict)  # role -> hub repository, for `prunegrid model add`
    revision: str | None = None  # of source.llava; the lock's identity in a planned cell
    clip: str | None = None  # folder of the whole CLIP, whose text tower some methods read
    family: str = "llava"
    dtype: str = "float32"
    device: str = (
        "auto"  # auto | cpu | cuda: where it runs unless told otherwise; no part of a cell's identity
    )
    weights: str = "checkpoint"  # checkpoint | random: full shape, no download
    config: dict[str, Any] = field(
        default_factory=dict
    )  # HuggingFace configuration that random weights are built from
    aspect: str = (
        "checkpoint"  # pictures: checkpoint = as its processor says | pad = LLaVA-1.5's mean-coloured square
    )
    tokens: int = MISSING  # visual tokens per picture
    side: int = MISSING  # patches per side
    vision_layers: int = MISSING
    llm_layers: int = MISSING
    template: str = MISSING  # the prompt around {question}
    published: str = MISSING  # the checkpoint's name in published tables


@dataclass
class DecodingConfig:
    """conf/decoding/<name>.yaml."""

    name: str = MISSING
    batch_size: int = 1
    do_sample: bool = False


@dataclass
class CellConfig:
    """conf/cell.yaml. Reducer, task and tuning are typed by their own yaml: an option exists if it stands there."""

    model: ModelConfig = field(default_factory=ModelConfig)
    reducer: dict[str, Any] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)
    tuning: dict[str, Any] = field(default_factory=dict)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    seed: int = 0
    limit: int | None = None


def register() -> None:
    """Make the schema known to hydra under the name that conf/cell.yaml starts from."""
    store = ConfigStore.instance()
    store.store(name="cell_schema", node=CellConfig)
    store.store(group="model", name="model_schema", node=ModelConfig)
    store.store(group="decoding", name="decoding_schema", node=DecodingConfig)
