"""ToMe+ in the tiny LLaVA against a sequence that really shrinks, merged by the reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from prunegrid.reduce import Place
from prunegrid.reduce.methods.tome_plus import ToMePlus
from prunegrid.shape import llava15_7b
from reduce import lab, oracle
from reference import pyramiddrop, tome

pytestmark = pytest.mark.usefixtures("no_grad")
NEW = 3


def keys(model: Any, layer: int, hidden: Tensor, position: Tensor) -> Tensor:
    """[H, T, Dh]: rotated keys of one LLM layer, a grouped head for each of its query heads."""
    block = model.model.language_model.layers[layer]
    own = (block.input_layernorm.weight, block.self_attn.q_proj.weight, block.self_attn.k_proj.weight)
    _, k = pyramiddrop.queries_and_keys(hidden, position.tolist(), *own, lab.HEADS, lab.KV_HEADS)
    return k.repeat_interleave(lab.HEADS // lab.KV_HEADS, 0)


def tower(model: Any, pixels: Tensor, counts: dict[int, int], proportional: bool) -> tuple[Tensor, Tensor]:
    """ToMe in a tower that really shrinks -> what the language model gets [n, D], and sizes [n]."""
    x, size = oracle.patches(model, pixels), torch.ones(1 + lab.PATCHES)
    for i, layer in enumerate(model.model.vision_tower.encoder.layers[: lab.SOURCE + 1]):
        k = layer.self_attn.k_proj(layer.layer_norm1(x)).view(len(x), lab.HEADS, -1).transpose(0, 1)
        x, _ = oracle.vit_attention(layer, x, bias=size.log() if proportional else 0.0)
        step = tome.tome_merge(x, k, size, len(x) - 1 - counts[i])
        x, size = oracle.vit_mlp(layer, step.tokens), step.size
    return oracle.project(model, x[1:]), size[1:]


def run(
    model: Any, x: Tensor, visual: range, counts: dict[int, int], new: Tensor, size: Tensor | None = None
) -> Tensor:
    """Logits [new, V]: before the layers of `counts` visual tokens merge; each stands where its destination stood."""
    h, n, before = torch.cat([x, oracle.words(model, new[:-1])]), len(visual), x
    position, size = torch.arange(len(h)), torch.ones(len(visual)) if size is None else size
    for i in range(lab.LAYERS):
        there = slice(visual.start, visual.start + n)
        if i in counts and n > counts[i]:
            k = keys(model, i - 1, before, position)[:, there]
            step = tome.tome_merge(h[there], k, size, n - counts[i], class_token=False)
            order = sorted(range(len(step.groups)), key=lambda t: step.groups[t][0])
            stay = torch.tensor([visual.start + step.groups[t][0] for t in order])
            head, tail = slice(0, visual.start), slice(visual.start + n, None)
            h = torch.cat([h[head], step.tokens[order], h[tail]])
            position = torch.cat([position[head], position[stay], position[tail]])
            size, n = step.size[order], len(order)
        before = h
        everyone = oracle.causal(torch.ones(len(h), dtype=torch.bool))
        h, _ = oracle.llm_layer(model, i, h, everyone, position)
    return oracle.head(model, h)[-len(new) :]


@pytest.mark.parametrize(("keep", "layers"), [(4, (1, 2)), (11, (1, 2, 3)), (8, (2,)), (15, (3,))])
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_the_language_model_merges_as_the_loop(model: Any, keep: int, layers: Any, batch: int) -> None:
    reducer = ToMePlus(keep, lab.PATCHES, layers)
    inputs = {1: lab.one(lab.batch(), 1), 2: lab.batch(), 4: lab.batch((3, 7, 5, 2), 3, (2, 1, 4, 3))}[batch]
    got = lab.answer(model, reducer, inputs, NEW)
    counts = reducer.counts(lab.tiny_shape(model))
    for b in range(batch):
        x, visual = lab.prompt_of(model, inputs, b)
        lab.close(got.logits[b], run(model, x, visual, counts, got.tokens[b]))
        held = [min([16, *(n for i, n in counts.items() if i <= layer)]) for layer in range(lab.LAYERS)]
        assert got.trace.visual[b] == held
        assert got.trace.cache[b] == [len(x) - lab.PATCHES + n + NEW - 1 for n in held]


@pytest.mark.parametrize("proportional", [True, False])
def test_sizes_of_the_tower_weigh_in_the_language_model(model: Any, proportional: bool) -> None:
    """Patches merged in the ViT count as many there, in its attention and in the means of the language model."""
    reducer, inputs = ToMePlus(4, 8, (1, 2), proportional), lab.batch()
    got, shape = lab.answer(model, reducer, inputs, NEW), lab.tiny_shape(model)
    assert got.trace.projector == [8, 8] and [v[-1] for v in got.trace.visual] == [4, 4]
    assert got.trace.vision == [[17, 14, 12, 9]] * 2
    for b in range(2):
        pixels = inputs["pixel_values"][b : b + 1]
        features, size = tower(model, pixels, reducer.first.counts(shape), proportional)
        assert size.sum() == lab.PATCHES and size.max() > 1, "every patch is counted once"
        x, visual = lab.prompt_of(model, inputs, b, features)
        lab.close(got.logits[b], run(model, x, visual, reducer.counts(shape), got.tokens[b], size))


def test_full_scale_counts_and_impossible_values() -> None:
    full = llava15_7b()
    counts = ToMePlus().counts(full)
    assert list(counts) == list(range(1, 13)) and counts[12] == 64 and counts[1] == 127
    assert [s.place for s in ToMePlus().sites(full)] == [Place.VISION] * 23 + [Place.PROMPT] * 12
    with pytest.raises(ValueError, match=r"must lie in 1\.\.31"):
        ToMePlus(layers=(0,)).sites(full)
    with pytest.raises(ValueError, match="keep=200 must not exceed entering=133"):
        ToMePlus(200).sites(full)
