"""LLaVA's own layouts, made tiny here, against the model that they hold; cut and hostile files are refused."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import peft
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, LlamaConfig, LlamaForCausalLM, LlavaForConditionalGeneration

from prunegrid.checkpoints.convert import Sources, convert
from prunegrid.checkpoints.layouts import CheckpointError

from . import layouts


def check(out: Path, expected: torch.Tensor) -> None:
    made = LlavaForConditionalGeneration.from_pretrained(out, use_safetensors=True, dtype="auto").eval()
    assert made.dtype == torch.float32
    assert made.config.text_config.vocab_size == 64  # padded: `<image>` and `<pad>` fit in
    assert made.config.image_token_id == layouts.IMAGE
    torch.testing.assert_close(layouts.logits(made), expected, rtol=1e-5, atol=1e-5)
    grown = made.lm_head.weight[layouts.IMAGE :]
    torch.testing.assert_close(grown, made.lm_head.weight[: layouts.IMAGE].mean(0).expand_as(grown))
    processor = AutoProcessor.from_pretrained(out, use_fast=False, backend="pil")
    inputs = processor(images=[Image.new("RGB", (20, 7))], text=["USER : <image> what"], return_tensors="pt")
    assert int((inputs["input_ids"] == layouts.IMAGE).sum()) == 9  # (12 / 4) ** 2
    assert inputs["pixel_values"].shape == (1, 3, 12, 12)
    assert not [p for p in out.iterdir() if p.suffix == ".bin"]


@pytest.mark.parametrize(
    ("kind", "shards", "own_tower"),
    [("bin", 1, False), ("bin", 3, True), ("safetensors", 1, True), ("safetensors", 2, False)],
)
def test_a_full_checkpoint(kind: str, shards: int, own_tower: bool, tmp_path: Path) -> None:
    """Also a LoRA merged by LLaVA's script: the same layout. A tower of its own counts, not the CLIP's."""
    made = layouts.model()
    clip = layouts.save_clip(layouts.model(seed=7) if own_tower else made, tmp_path / "clip")
    weights = layouts.language(made) | layouts.projector(made, "model.")
    if own_tower:
        prefix = "model.vision_tower.vision_tower.vision_model."
        weights |= {f"{prefix}{k}": v for k, v in made.model.vision_tower.state_dict().items()}
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)  # old checkpoints hold it
    layouts.save_weights(weights, tmp_path / "llava", kind, shards)
    layouts.save_config(tmp_path / "llava")
    layouts.save_tokenizer(tmp_path / "llava")
    assert convert(Sources(tmp_path / "llava", vision=clip), tmp_path / "out") == "full"
    check(tmp_path / "out", layouts.logits(made))


@pytest.mark.parametrize("prefix", ["model.", ""])
def test_a_projector_beside_vicuna(prefix: str, tmp_path: Path) -> None:
    made = layouts.model()
    base = layouts.save_base(layouts.language(made), tmp_path / "vicuna")
    (tmp_path / "llava").mkdir()
    torch.save(layouts.projector(made, prefix), tmp_path / "llava" / "mm_projector.bin")
    sources = Sources(tmp_path / "llava", base, layouts.save_clip(made, tmp_path / "clip"))
    assert convert(sources, tmp_path / "out") == "projector"
    check(tmp_path / "out", layouts.logits(made))


@pytest.mark.parametrize(("safe", "rslora"), [(True, False), (False, False), (True, True)])
def test_an_adapter_beside_vicuna_is_merged_as_peft_merges(safe: bool, rslora: bool, tmp_path: Path) -> None:
    made = layouts.model()
    base = layouts.save_base(layouts.language(made), tmp_path / "vicuna")
    llama = LlamaForCausalLM(LlamaConfig(**layouts.TEXT))
    llama.load_state_dict(layouts.language(made))
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    options = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=targets, use_rslora=rslora, task_type="CAUSAL_LM"
    )
    adapted = peft.get_peft_model(llama, options)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data.normal_(std=0.3)
    folder = tmp_path / "llava"
    adapted.save_pretrained(folder)
    if not safe:
        from safetensors.torch import load_file

        torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
        (folder / "adapter_model.safetensors").unlink()
    trained = layouts.model(seed=3)  # stage 2 trains the projector on
    torch.save(layouts.projector(trained, "base_model.model.model."), folder / "non_lora_trainables.bin")
    layouts.save_config(folder)
    sources = Sources(folder, base, layouts.save_clip(made, tmp_path / "clip"))
    assert convert(sources, tmp_path / "out") == "lora"
    merged = adapted.merge_and_unload().model.state_dict()
    rows = made.model.language_model.embed_tokens.weight.data[layouts.IMAGE :]
    merged["embed_tokens.weight"] = torch.cat([merged["embed_tokens.weight"], rows])
    made.model.language_model.load_state_dict(merged)
    made.model.multi_modal_projector.load_state_dict(trained.model.multi_modal_projector.state_dict())
    check(tmp_path / "out", layouts.logits(made))


def whole(tmp_path: Path) -> Sources:
    made = layouts.model()
    layouts.save_weights(
        layouts.language(made) | layouts.projector(made, "model."), tmp_path / "llava", "bin", 2
    )
    layouts.save_config(tmp_path / "llava")
    layouts.save_tokenizer(tmp_path / "llava")
    return Sources(tmp_path / "llava", vision=layouts.save_clip(made, tmp_path / "clip"))


class Bomb:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trace),)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    sources = whole(tmp_path)
    file = sources.llava / "pytorch_model-00001-of-00002.bin"
    for save in (torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))):
        save({"x": Bomb(tmp_path / "ran")}, file)
        with pytest.raises(CheckpointError, match="holds more than tensors"):
            convert(sources, tmp_path / "out")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        ("pytorch_model-00002-of-00002.bin", "pytorch_model-00002-of-00002.bin missing"),
        ("cut", "is cut"),
        ("tokenizer.json", "no tokenizer.json"),
        ("config.json", "config.json is missing"),
        ("projector", "only LLaVA-1.5's mlp2x_gelu"),
        ("outside", "outside its folder"),
        ("vision", "do not fit"),
        ("everything", "no layout of LLaVA's"),
    ],
)
def test_what_is_not_whole_is_named_and_leaves_nothing(spoil: str, complaint: str, tmp_path: Path) -> None:
    sources = whole(tmp_path)
    shard = sources.llava / "pytorch_model-00001-of-00002.bin"
    index = sources.llava / "pytorch_model.bin.index.json"
    if spoil == "cut":
        shard.write_bytes(shard.read_bytes()[:-200])
    elif spoil == "projector":
        kept = torch.load(shard, weights_only=True)
        torch.save({k: v for k, v in kept.items() if "mm_projector" not in k}, shard)
    elif spoil == "outside":
        index.write_text(json.dumps({"weight_map": {"a": "../clip/model.safetensors"}}), encoding="utf-8")
    elif spoil == "vision":
        config = json.loads((tmp_path / "clip" / "config.json").read_text(encoding="utf-8"))
        config["vision_config"]["num_hidden_layers"] = 2
        (tmp_path / "clip" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    else:
        for file in sources.llava.iterdir() if spoil == "everything" else [sources.llava / spoil]:
            file.unlink()
    with pytest.raises(CheckpointError, match=complaint):
        convert(sources, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip", "llava"]
