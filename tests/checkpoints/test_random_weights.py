"""Random weights at any shape: deterministic, filled everywhere, and able to answer with the stand-in processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from grid.project import ROOT, Project
from prunegrid.checkpoints.random_weights import BLOCK, _filled, empty, random_llava
from prunegrid.checkpoints.stand_in import stand_in
from prunegrid.grid.cell import Cell
from prunegrid.run.weights import load
from prunegrid.shape import ModelShape

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}


def option(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "conf/model" / f"{name}.yaml").read_text(encoding="utf-8"))
    return read


def shrunk(name: str = "llava15_7b") -> dict[str, Any]:
    """The configuration of a model with its own patch grid and vocabulary, narrow and shallow."""
    config = option(name)["config"]
    vision = config["vision_config"] | SMALL | {"num_hidden_layers": 3}
    text = config["text_config"] | SMALL | {"num_hidden_layers": 2, "num_key_value_heads": 4}
    return {**config, "vision_config": vision, "text_config": text}


@pytest.mark.parametrize(
    ("name", "parameters"),
    # Vicuna with 32,000 words, 64 rows more in embedding and head, CLIP ViT-L/14 at 336, the projector's two layers
    [
        ("llava15_7b", 6_738_415_616 + 2 * 64 * 4096 + 303_507_456 + 1025 * 4096 + 4097 * 4096),
        ("vicuna7b_stage1", 6_738_415_616 + 2 * 64 * 4096 + 303_507_456 + 1025 * 4096 + 4097 * 4096),
        ("llava15_13b_lora", 13_015_864_320 + 2 * 64 * 5120 + 303_507_456 + 1025 * 5120 + 5121 * 5120),
    ],
)
def test_every_model_has_its_full_shape(name: str, parameters: int) -> None:
    """On the meta device: no memory."""
    made, said = empty(option(name)["config"]), option(name)
    assert sum(p.numel() for p in made.parameters()) == parameters
    assert all(p.is_meta for p in made.parameters())
    shape = ModelShape.from_config(made.config.to_dict())
    there = (shape.visual_tokens, shape.vision.side, shape.vision.layers, shape.llm.layers)
    assert there == (said["tokens"], said["side"], said["vision_layers"], said["llm_layers"])


def test_weights_come_from_the_seed_and_the_name_alone() -> None:
    first, again, other = (random_llava(shrunk(), seed, torch.bfloat16, "cpu") for seed in (0, 0, 1))
    weights = dict(first.named_parameters())
    for (name, a), (_, b), (_, c) in zip(
        first.named_parameters(), again.named_parameters(), other.named_parameters(), strict=True
    ):
        assert torch.equal(a, b), name
        assert a.dtype == torch.bfloat16
        assert not a.is_meta
        if a.dim() > 1:
            assert not torch.equal(a, c), name
            assert 0.015 < float(a.float().std()) < 0.025, name
    assert not torch.equal(
        weights["model.language_model.layers.0.self_attn.q_proj.weight"],
        weights["model.language_model.layers.1.self_attn.q_proj.weight"],
    )
    assert bool((weights["model.vision_tower.encoder.layers.0.layer_norm1.weight"] == 1).all())
    assert bool((weights["model.vision_tower.encoder.layers.0.layer_norm1.bias"] == 0).all())


def test_rows_of_a_large_tensor_differ() -> None:
    """Blocks repeat, rows do not."""
    filled = _filled("normal", "w", torch.Size((1200, 4096)), 0, torch.bfloat16)
    assert filled.numel() > 4 * BLOCK
    assert len(torch.unique(filled[:, :8], dim=0)) == 1200


def test_buffers_are_those_of_a_model_built_as_usual() -> None:
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    usual = dict(LlavaForConditionalGeneration(LlavaConfig(**shrunk())).named_buffers())
    made = dict(random_llava(shrunk(), 0, torch.float32, "cpu").named_buffers())
    assert set(made) == set(usual)
    assert all(torch.equal(made[name], usual[name]) for name in usual)


def test_the_stand_in_counts_as_the_real_processor() -> None:
    made = stand_in(336, 14)
    assert len(made.tokenizer) == 32002
    assert made.tokenizer.convert_tokens_to_ids(["<s>", "</s>", "<image>", "<pad>"]) == [1, 2, 32000, 32001]
    prompt = option("llava15_7b")["template"].format(question="Ünïcode\n12 émigrés?\nAnswer the question")
    inputs = made(images=[Image.new("RGB", (50, 20))], text=[prompt], return_tensors="pt")
    ids = inputs["input_ids"][0]
    assert int((ids == 32000).sum()) == 576
    assert (int(ids[0]), int((ids == 1).sum()), int((ids == 0).sum())) == (
        1,
        1,
        0,
    )  # one BOS, nothing unknown
    assert 45 <= len(ids) - 576 <= 90
    assert inputs["pixel_values"].shape == (1, 3, 336, 336)


def test_a_cell_with_random_weights_loads_and_answers(tmp_path: Path) -> None:
    project = Project.at(tmp_path)
    values = {
        "weights": "random",
        "device": "cpu",
        "dtype": "bfloat16",
        "config": shrunk(),
        "vision_layers": 3,
    }
    cell = project.cell(model={"llava15_7b": values | {"llm_layers": 2}})
    assert (cell.model["revision"], cell.model["published"]) == (None, "none")
    made, processor = load(Cell.from_dict(cell.to_dict()), tmp_path, "cpu")
    inputs = processor(images=[Image.new("RGB", (9, 9))], text=["USER: <image>\nWhat?"], return_tensors="pt")
    inputs["pixel_values"] = inputs["pixel_values"].bfloat16()
    new = made.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert new.shape[1] == inputs["input_ids"].shape[1] + 3
    assert torch.isfinite(made(**inputs).logits).all()
