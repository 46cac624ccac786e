"""TopK+ in the tiny LLaVA against slow runs of one sample: a tower that really shrinks, then masked keys."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from ivtp_oracle import stages
from torch import Tensor

from prunegrid.reduce import Place
from prunegrid.reduce.methods.progressive import Progressive
from prunegrid.reduce.methods.topk_plus import TopKPlus
from prunegrid.shape import llava15_7b
from reduce import lab, oracle
from reference import ivtp as reference

pytestmark = pytest.mark.usefixtures("no_grad")
NEW = 3


def tower(model: Any, pixels: Tensor, counts: Sequence[int]) -> tuple[list[int], Tensor, Tensor]:
    """Patches that are left, what they are to the language model [n, D], and the visual CLS there [D]."""
    layers = model.model.vision_tower.encoder.layers
    x, alive = oracle.patches(model, pixels), list(range(lab.PATCHES))
    for layer, count in zip(layers, counts, strict=False):
        x, attention = oracle.vit_attention(layer, x)
        keep = reference.keep(attention.mean(0)[0, 1:].tolist(), count)
        alive = [alive[j] for j in keep]
        x = oracle.vit_mlp(layer, x[[0, *(1 + j for j in keep)]])
    made = oracle.project(model, x)
    return alive, made[1:], made[0]


@pytest.mark.parametrize(
    ("keep", "entering", "layers"),
    [(4, 10, (1, 2, 3)), (3, 16, (3,)), (2, 9, (2, 3)), (5, 5, (1, 2)), (0.25, 0.75, (1, 3))],
)
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_both_towers_drop_what_the_loop_drops(
    model: Any, keep: Any, entering: Any, layers: Any, batch: int
) -> None:
    reducer, shape = TopKPlus(keep, entering, layers), lab.tiny_shape(model)
    inputs = {1: lab.one(lab.batch(), 1), 2: lab.batch(), 4: lab.batch((3, 7, 5, 2), 3, (2, 1, 4, 3))}[batch]
    got, counts = lab.answer(model, reducer, inputs, NEW), reducer.counts(shape)
    prunes = [(range(a, b), counts[b]) for a, b in pairwise([0, *counts])]
    options = {"attention": "single", "values": False}
    for b in range(batch):
        left = Progressive(entering).counts(shape)
        alive, visual, cls = tower(model, inputs["pixel_values"][b : b + 1], left)
        spared = got.trace.vision_mlp[b][: len(left)]
        assert spared == [1 + n for n in left], "a layer's MLP gets what its attention left"
        assert got.trace.kept[f"vision{shape.vision.selected - 1}"][b] == alive
        x, there = lab.prompt_of(model, inputs, b, visual)
        want = stages(model, x, there, cls, [], prunes, options)
        for layer, kept, _ in want:
            alive = [alive[k] for k in kept]
            assert got.trace.kept[f"prompt{layer}"][b] == alive, (b, layer)
        lab.close(got.logits[b], oracle.masked(model, x, there, want, got.tokens[b]))
        assert got.trace.visual[b][-1] == len(alive)


def test_full_scale_counts_and_impossible_values() -> None:
    full = llava15_7b()
    counts = TopKPlus().counts(full)
    assert list(counts) == list(range(1, 13)) and counts[12] == 64 and counts[1] == 127
    assert [s.place for s in TopKPlus().sites(full)] == [Place.VISION] * 23 + [Place.PROMPT] * 13
    with pytest.raises(ValueError, match=r"must lie in 1\.\.31"):
        TopKPlus(layers=(0,)).sites(full)
    with pytest.raises(ValueError, match="keep=200 must not exceed entering=133"):
        TopKPlus(200).sites(full)
