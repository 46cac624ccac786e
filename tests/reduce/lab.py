"""A tiny LLaVA, left-padded batches, and reducers that do what a test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LogitsProcessor,
)

from prunegrid.reduce import Place, Probe, PromptText, ReducedVLM, Reducer, Reduction, Site, TokenView, Trace
from prunegrid.shape import ModelShape

from . import clip, oracle

DEPTH = 6  # as deep as the mini model: methods with several stages need the layers
IMAGE, PATCHES, LAYERS, SOURCE = (
    127,
    16,
    4,
    2,
)  # placeholder; 4 x 4 grid; both towers; the ViT layer LLaVA reads
HEADS, KV_HEADS = 4, 2
Inputs = dict[str, Tensor]
Act = Callable[[TokenView], Reduction | None]


def tiny(seed: int = 0, layers: int = LAYERS) -> LlavaForConditionalGeneration:
    """Random weights, large enough that every token matters to the logits."""
    torch.manual_seed(seed)
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        image_size=56,
        patch_size=14,
    )
    text = LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        vocab_size=128,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=None,
    )
    options: dict[str, Any] = {"image_token_id": IMAGE}
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        **options,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=PATCHES,
    )
    model = LlavaForConditionalGeneration(config).eval()
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.data.mul_(6)
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model


def batch(lengths: Sequence[int] = (3, 7), seed: int = 1, before: Sequence[int] = (2, 1)) -> Inputs:
    """One picture per sample: BOS and `before` tokens of text, 16 placeholders, `lengths` tokens; left-padded."""
    g = torch.Generator().manual_seed(seed)

    def text(n: int) -> Tensor:
        return torch.randint(2, 120, (n,), generator=g)

    image = torch.full((PATCHES,), IMAGE)
    rows = [
        torch.cat([torch.tensor([1]), text(m), image, text(n)]) for m, n in zip(before, lengths, strict=False)
    ]
    longest = max(map(len, rows))
    pads = [longest - len(row) for row in rows]
    return {
        "input_ids": torch.stack(
            [torch.cat([row.new_zeros(p), row]) for row, p in zip(rows, pads, strict=True)]
        ),
        "attention_mask": torch.stack([(torch.arange(longest) >= p).long() for p in pads]),
        "pixel_values": torch.randn(len(rows), 3, 56, 56, generator=g),
    }


def even(seed: int = 1) -> Inputs:
    """A batch without padding."""
    return batch((5, 5), seed, (2, 2))


def one(inputs: Inputs, b: int) -> Inputs:
    """Sample b alone, without padding."""
    real = inputs["attention_mask"][b].bool()
    return {k: v[b : b + 1] if k == "pixel_values" else v[b : b + 1, real] for k, v in inputs.items()}


@dataclass(frozen=True)
class Plan(Reducer):
    """At each site, what its function says; `seen` collects the views."""

    steps: tuple[tuple[Site, Act], ...] = ()
    seen: list[TokenView] = field(default_factory=list)

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        return [site for site, _ in self.steps]

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction | None:
        self.seen.append(view)
        return dict(self.steps)[site](view)


def plan(*steps: tuple[Site, Act]) -> Plan:
    return Plan(tuple(steps))


def at(place: Place, layer: int | None = None, **options: Any) -> Site:
    return Site(place, layer, **options)


def tiny_shape(model: Any) -> ModelShape:
    return ModelShape.from_config(model.config.to_dict())


def fixed(*keep: int) -> Act:
    """The same tokens of every sample."""
    return lambda view: Reduction(torch.tensor(keep, dtype=torch.long).expand(len(view.tokens), -1))


def ragged(keeps: Mapping[str, Sequence[int]]) -> Act:
    """By sample id; shorter ones are filled up."""

    def act(view: TokenView) -> Reduction:
        mine = [list(keeps[i]) for i in view.ids]
        n = max(map(len, mine))
        keep = torch.tensor([k + [0] * (n - len(k)) for k in mine], dtype=torch.long).view(-1, n)
        valid = torch.tensor([[True] * len(k) + [False] * (n - len(k)) for k in mine]).view(-1, n)
        return Reduction(keep, valid=valid)

    return act


def nothing(view: TokenView) -> None:
    """Look, do not touch."""


def spy(site: Site) -> Plan:
    return plan((site, nothing))


def draw(n: int, of: int, seed: int) -> list[int]:
    """n of `of`, ascending."""
    return sorted(torch.randperm(of, generator=torch.Generator().manual_seed(seed))[:n].tolist())


class Scores(LogitsProcessor):
    """Notes the logits of every step."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.steps.append(scores.clone())
        return scores


@dataclass(frozen=True)
class Answer:
    tokens: Tensor  # [B, new]
    logits: Tensor  # [B, new, V]
    trace: Trace


def host(model: Any, reducer: Reducer) -> ReducedVLM:
    """With the CLIP beside the tiny model for a reducer that reads."""
    return ReducedVLM(model, reducer, text=clip.tower(model) if reducer.reads_text else None)


def answer(
    model: Any,
    reducer: Reducer,
    inputs: Inputs,
    new: int = 4,
    ids: Sequence[str] = (),
    prompt: Sequence[PromptText] = (),
) -> Answer:
    """Greedy decoding with the logits of every step; the prompts' texts and a CLIP for reducers that read them."""
    scores = Scores()
    ids = ids or [str(b) for b in range(len(inputs["input_ids"]))]
    tokens, trace = host(model, reducer).generate(
        inputs,
        ids=ids,
        prompt=prompt or clip.told(inputs, IMAGE),
        max_new_tokens=new,
        do_sample=False,
        logits_processor=[scores],
    )
    return Answer(tokens, torch.stack(scores.steps, 1), trace)


def look(model: Any, inputs: Inputs, site: Site, *before: tuple[Site, Act], act: Act = nothing) -> TokenView:
    """The view at `site` after `before` acted."""
    reducer = plan(*before, (site, act))
    answer(model, reducer, inputs, new=1)
    return reducer.seen[-1]


def probed(site: Site, *layers: int, **options: object) -> Site:
    return Site(site.place, site.layer, Probe(layers, **options), site.scope)  # type: ignore[arg-type]


def prompt_of(model: Any, inputs: Inputs, b: int, visual: Tensor | None = None) -> tuple[Tensor, range]:
    """Sample b's embedded prompt [T, D] and where its visual tokens stand; all features unless `visual` [n, D]."""
    alone = one(inputs, b)
    tokens = oracle.features(model, alone["pixel_values"]) if visual is None else visual
    ids = alone["input_ids"][0]
    return oracle.embed(model, ids, tokens), oracle.span(model, ids, len(tokens))


def close(got: Tensor, want: Tensor) -> None:
    """Equal but for rounding, measured on the scale of the values."""
    torch.testing.assert_close(got, want, rtol=1e-4, atol=2e-5 * max(1.0, float(want.abs().max())))


# A site at every place, for samples "0" and "1"; 4 visual tokens enter the language model, 3 stay.
EVERYWHERE: tuple[tuple[Site, Act], ...] = (
    (at(Place.IMAGE), fixed(*range(14))),
    (Site(Place.VISION, 0, Probe((0,))), fixed(*range(12))),
    (at(Place.VISION, 1, mid=True, proportional=True), ragged({"0": range(10), "1": range(7)})),
    (Site(Place.FEATURES, probe=Probe((1,))), fixed(5, 2, 3, 1, 0)),
    (at(Place.EMBEDS), fixed(4, 3, 2, 1)),
    (Site(Place.PROMPT, 2, Probe((1,), queries="last"), positions="renumber"), fixed(0, 1, 3)),
    (Site(Place.CACHE, 1, Probe((1,), queries=None)), fixed(0)),
)
