"""Progressive random and TopK against the slow reference, and inside the model."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from vit_view import FULL, SHAPES, batch, host, in_the_model, layer, shape, view

from prunegrid.reduce import Host
from prunegrid.reduce.methods.progressive import Progressive
from reference import progressive as slow

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.mark.parametrize("patches", [16, 144, 576])
@pytest.mark.parametrize("layers", [4, 24])
def test_counts_are_the_references(patches: int, layers: int) -> None:
    for keep in (1, patches // 9, patches // 2, patches):
        made = Progressive(keep).counts(shape(patches, layers))
        assert made == slow.linear_counts(patches, keep, layers - 1)
        geometric = Progressive(keep, schedule="geometric").counts(shape(patches, layers))
        assert geometric == slow.geometric_counts(patches, keep, layers - 1)


def test_llava_drops_22_or_23_patches_per_layer() -> None:
    counts = [576, *Progressive(64).counts(shape(576))]
    drops = {a - b for a, b in itertools.pairwise(counts)}
    assert drops == {22, 23} and counts[-1] == 64 and len(counts) == 24


@pytest.mark.parametrize(("patches", "width", "heads"), [*SHAPES, FULL])
@pytest.mark.parametrize("samples", [1, 4])
def test_topk_equals_the_loop(patches: int, width: int, heads: int, samples: int) -> None:
    reducer, given = Progressive(patches // 9), batch(patches, width, heads, samples)
    count = reducer.counts(shape(patches))[0]
    made = reducer.reduce(reducer.sites(shape(patches))[0], view(given, 0), host(patches))
    for b, one in enumerate(given):
        scores = slow.class_scores(one.attention()[:, 0])
        want = slow.drop_lowest([count], lambda _l, _a, s=scores: s, patches)[0]
        assert made.keep[b].tolist() == want


def test_random_is_the_same_draw_at_every_layer_and_for_every_batch() -> None:
    reducer, given = Progressive(16, score="random"), [layer(144, 8, 2, b) for b in range(3)]
    made = reducer.reduce(reducer.sites(shape(144))[0], view(given, 0), host(144))
    alone = reducer.reduce(reducer.sites(shape(144))[0], view(given[:1], 0), host(144))
    assert torch.equal(made.keep[:1], alone.keep)
    assert not torch.equal(made.keep[0], made.keep[1])
    seeded = reducer.reduce(reducer.sites(shape(144))[0], view(given, 0), Host(shape(144), seed=1))
    assert not torch.equal(made.keep[0], seeded.keep[0]), "the seed counts"
    draw = torch.rand(144, generator=view(given, 0).generators(0)[0]).tolist()
    counts = reducer.counts(shape(144))
    want = slow.drop_lowest(counts, lambda _l, alive: [draw[j] for j in alive], 144)
    assert made.keep[0].tolist() == want[0]
    later = replace(view([one.head(counts[0] + 1) for one in given], 1), index=made.keep)
    second = reducer.reduce(reducer.sites(shape(144))[1], later, host(144))
    assert made.keep.gather(1, second.keep)[0].tolist() == want[1], "a patch keeps its draw"


@pytest.mark.parametrize("score", ["cls", "random"])
@pytest.mark.parametrize("mid", [True, False])
def test_in_the_model(model: Any, score: Any, mid: bool) -> None:
    got = in_the_model(model, Progressive(4, score=score, mid=mid))
    assert got.trace.vision == [[17, 13, 9, 5]] * 2 and got.trace.projector == [4, 4]
    assert got.trace.vision_mlp == ([[13, 9, 5, 5]] * 2 if mid else []), "the MLP of a layer is spared or not"
    for b in range(2):
        by_layer = [got.trace.kept[f"vision{i}"][b] for i in range(3)]
        assert all(kept == sorted(kept) for kept in by_layer), "raster order"
        assert all(set(later) < set(kept) for kept, later in itertools.pairwise(by_layer))


def test_impossible_values_are_refused(model: Any) -> None:
    with pytest.raises(ValueError, match="keep=17 is more than the 16 tokens"):
        in_the_model(model, Progressive(17))
    with pytest.raises(ValueError, match="score='x' must be 'cls' or 'random'"):
        Progressive(score="x")  # type: ignore[arg-type]
