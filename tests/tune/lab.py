"""A tiny LLaVA, four pictures and a handful of conversations to train on."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from prunegrid.mini.language import TEMPLATE, tokenizer
from prunegrid.mini.scenes import draw, sample
from prunegrid.reduce import Place, Probe, Reducer, Reduction, Site, TextTower, TokenView
from prunegrid.tune.conversations import Conversation, read
from prunegrid.tune.loop import Tuner
from prunegrid.tune.packing import Packer
from prunegrid.tune.recipe import Recipe
from run import lab

TOKENS = lab.SIDE**2


def said(*lines: str) -> list[dict[str, str]]:
    """Human and gpt in turn."""
    return [{"from": ("human", "gpt")[k % 2], "value": line} for k, line in enumerate(lines)]


SHOWN = said("<image>\nWhat color is the circle?", "red")
TWICE = said("What shape is the red object?\n<image>", "circle", "How many objects are there?", "2")
TEXT = said("There is a red circle.\nWhat color is the circle?", "red")


@dataclass
class Lab:
    """A folder with conversations.json and images/, and the tiny model."""

    folder: Path
    model: LlavaForConditionalGeneration
    processor: Any

    @classmethod
    def at(cls, folder: Path) -> Lab:
        import numpy as np

        lab.save(folder / "llava")
        model = LlavaForConditionalGeneration.from_pretrained(
            folder / "llava", dtype=torch.float32, attn_implementation="sdpa"
        )
        processor = AutoProcessor.from_pretrained(folder / "llava", use_fast=False, backend="pil")
        processor.tokenizer.padding_side = "left"
        (folder / "images").mkdir()
        rng = np.random.default_rng(0)
        for k in range(4):
            draw(sample(rng)).save(folder / "images" / f"{k}.png")
        return cls(folder, model, processor)

    def write(self, *rows: Any) -> Path:
        file = self.folder / "conversations.json"
        file.write_text(json.dumps(list(rows)), encoding="utf-8")
        return file

    def ten(self) -> list[Conversation]:
        """Eight with pictures, two without."""
        rows: list[dict[str, Any]] = [
            {"id": f"p{k}", "image": f"{k % 4}.png", "conversations": SHOWN if k % 3 else TWICE}
            for k in range(8)
        ]
        rows += [{"id": f"t{k}", "conversations": TEXT} for k in range(2)]
        return read(self.write(*rows), self.folder / "images")[0]

    def packer(self, style: str = "conversation", max_length: int = 200) -> Packer:
        return Packer(self.processor, TEMPLATE, TOKENS, style, max_length)

    def tower(self) -> TextTower:
        """A CLIP that reads what reducers ask about."""
        return TextTower(lab.clip(), tokenizer())

    def tuner(self, reducer: Reducer, **settings: Any) -> Tuner:
        """A fresh tuning of the same model."""
        base: dict[str, Any] = {"kind": "lora", "rate": 0.01, "batch": 4, "micro": 2, "steps": 4, "rank": 4}
        given = base | {"alpha": 8, "dropout": 0.2, "dtype": "float32", "max_length": 200} | settings
        recipe = Recipe(**given)
        model = copy.deepcopy(self.model).to(getattr(torch, given["dtype"]))
        text = self.tower() if reducer.reads_text else None
        return Tuner(model, reducer, recipe, self.packer(), self.ten(), 3, "cpu", text=text)


class Watch(Reducer):
    """Keeps every `step`-th token of the features and of LLM layer 2, and remembers what it kept, per sample."""

    def __init__(self, step: int = 3) -> None:
        object.__setattr__(self, "step", step)
        object.__setattr__(self, "seen", [])
        object.__setattr__(self, "edited", [])

    def sites(self, shape: Any) -> tuple[Site, ...]:
        return (
            Site(Place.FEATURES, probe=Probe((1,))),
            Site(Place.PROMPT, 2, Probe((1,), queries="text")),
        )

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction:
        scores = view.attention(1).mean((1, 2))
        count = max(1, view.tokens.shape[1] // self.step)  # type: ignore[attr-defined]
        keep = scores.masked_fill(~view.valid, -1).topk(count, dim=1).indices.sort(1).values
        self.seen.append(keep.tolist())  # type: ignore[attr-defined]
        return Reduction(keep)

    def edit(self, site: Site, hidden: Any, state: Any, valid: Any = None) -> Any:
        self.edited.append(site)  # type: ignore[attr-defined]
        return hidden
