"""conf/tuning holds LLaVA-1.5's official settings, and the studies that tune start where the papers do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from prunegrid.tune.recipe import Recipe

CONF = Path(__file__).parents[2] / "conf"
# scripts/v1_5/{pretrain,finetune,finetune_lora}.sh at c121f043: 8 devices, one epoch, cosine, bf16.
SHARED = {"epochs": 1, "steps": None, "warmup": 0.03, "decay": 0.0, "max_length": 2048, "dtype": "bfloat16"}
TALKING = {"batch": 8 * 16, "fresh": False, "style": "conversation", "group": True, "checkpointing": True}
OFFICIAL: dict[str, dict[str, Any]] = {
    "pretrain_projector": {
        "kind": "projector",
        "rate": 1e-3,
        "batch": 8 * 32,
        "fresh": True,
        "style": "plain",
    }
    | {"group": False, "checkpointing": True},
    "full": {"kind": "full", "rate": 2e-5, "projector_rate": None, **TALKING},
    "lora": {"kind": "lora", "rate": 2e-4, "projector_rate": 2e-5, "rank": 128, "alpha": 256, "dropout": 0.05}
    | TALKING,
    # VisionZip: a tenth of 665,298 conversations.
    "projector": {"kind": "projector", "rate": 2e-5, **TALKING, "steps": 519},
}


def read(group: str, name: str) -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))
    return made


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_settings_are_the_official_ones(name: str) -> None:
    recipe = Recipe.of(read("tuning", name))
    wanted = SHARED | OFFICIAL[name]
    assert {field: getattr(recipe, field) for field in wanted} == wanted


@pytest.mark.parametrize("file", sorted((CONF / "tuning").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_tuning_states_all_of_its_recipe(file: Path) -> None:
    said = yaml.safe_load(file.read_text(encoding="utf-8"))
    if file.stem != "none":
        assert set(Recipe.__dataclass_fields__) <= set(said)
        assert Recipe.of(said).faults <= 0.01 and said["reducer"] is None


STARTS = {
    "prumerge_table6": ("vicuna7b_stage1", "lora", None),
    "vtip_table3": ("llava15_7b", "lora", None),
    "ivtp_table4": ("vicuna7b_stage1", "full", "pretrain_projector"),
}


@pytest.mark.parametrize("study", STARTS)
def test_what_is_tuned_starts_where_the_paper_does(study: str) -> None:
    tuned = [block for block in read("study", study)["blocks"] if isinstance(block.get("tuning"), dict)]
    (block,) = [block for block in tuned if "none" not in block["tuning"]]
    ((name, options),) = block["tuning"].items()
    assert (block["model"], name, (options or {}).get("after")) == STARTS[study]
