"""A project that answers in a second: tiny random LLaVA, the mini tokenizer, a handful of drawn scenes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from grid.project import Project
from prunegrid.grid.cell import Cell
from prunegrid.grid.plan import Plan
from prunegrid.mini import suites
from prunegrid.mini.language import EOS, IMAGE, TEMPLATE, tokenizer, words
from prunegrid.run.data import dvc_md5

SCENES, WEIGHTS = "data/mini/scenes", "data/tiny"
IMAGES, SIDE, PATCH, LAYERS = 6, 4, 8, 4
MODEL = f"""# A random model for tests.
defaults: [model_schema, _self_]
name: tiny
path: {WEIGHTS}/llava
data: {WEIGHTS}
tokens: {SIDE * SIDE}
side: {SIDE}
vision_layers: {LAYERS}
llm_layers: {LAYERS}
template: {TEMPLATE!r}
published: tiny
""".replace("'", '"')


def save(folder: Path, seed: int = 0) -> None:
    """A checkpoint as `save_pretrained` writes it."""
    torch.manual_seed(seed)
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        image_size=SIDE * PATCH,
        patch_size=PATCH,
    )
    text = LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        vocab_size=len(words()),
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=words().index(EOS),
    )
    image = words().index(IMAGE)
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=image,
        image_token_index=image,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    model = LlavaForConditionalGeneration(config)
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.data.mul_(6)  # every token matters to the answer
    model.save_pretrained(folder)
    side = SIDE * PATCH
    pictures = CLIPImageProcessorPil(
        size={"height": side, "width": side}, do_resize=True, do_center_crop=False
    )
    LlavaProcessor(
        image_processor=pictures,
        tokenizer=tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token=IMAGE,
        chat_template=None,
    ).save_pretrained(folder)


def clip() -> CLIPModel:
    """A random CLIP whose vision tower has the shape of the model's."""
    torch.manual_seed(3)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = CLIPVisionConfig(**shape, image_size=SIDE * PATCH, patch_size=PATCH)
    text = CLIPTextConfig(**shape, vocab_size=len(words()), bos_token_id=1, eos_token_id=3, pad_token_id=0)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
    return CLIPModel(config).eval()


def join_clip(project: Project) -> None:
    """Give the model a CLIP that reads."""
    folder = project.root / "data" / "joint"
    clip().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    project.write("conf/model/tiny.yaml", MODEL + "clip: data/joint\n")


def build(root: Path) -> Project:
    """The whole project: options, scenes, weights, data.dvc."""
    project = Project.at(root)
    project.write("conf/model/tiny.yaml", MODEL)
    suites.write(root / SCENES, images=IMAGES)
    save(root / WEIGHTS / "llava")
    project.pin({path: dvc_md5(root / path) for path in (SCENES, WEIGHTS)})
    return project


def copy(project: Project, root: Path) -> Project:
    """Another copy of it; results stay behind."""
    shutil.copytree(project.root, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("results"))
    return Project(root, type(project.options).of(root / "conf"))


def study(project: Project, *reducers: Any, task: str = "mini_vqa", size: int = 4, **more: Any) -> Plan:
    """Plan reducers on the tiny model, `size` questions at once."""
    block = {
        "model": "tiny",
        "task": task,
        "reducer": list(reducers),
        "decoding": {"greedy": {"batch_size": size}},
        **more,
    }
    return project.plan(block)


def cells(plan: Plan) -> list[Cell]:
    """The cells that a table shows, in order."""
    return [Cell.from_dict(row["cell"]) for row in plan.rows if not row["support"]]
