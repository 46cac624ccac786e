"""ToMe against the slow reference, and inside the model."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from vit_view import SHAPES, batch, groups, host, in_the_model, shape, view

from prunegrid.reduce.methods.tome import ToMe, bipartite
from prunegrid.reduce.methods.vit_schedule import capped, linear
from prunegrid.reduce.ops import apply, survivors_size
from reference import tome as slow

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.mark.parametrize(("patches", "width", "heads"), [*SHAPES, (63, 32, 4)])
@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("share", [0.04, 0.2, 0.5])
def test_one_merge_equals_the_loop(patches: int, width: int, heads: int, samples: int, share: float) -> None:
    given, r = batch(patches, width, heads, samples), max(1, int(patches * share))
    g = torch.Generator().manual_seed(patches)
    size = torch.randint(1, 9, (samples, patches), generator=g).float()
    made = view(given, 0, size)
    got = bipartite(made, made.keys[0], r)
    tokens = apply(got, made.tokens, made.prefix)
    for b, one in enumerate(given):
        want = slow.tome_merge(one.x, one.k, torch.cat([torch.ones(1), size[b]]), r)
        assert want.groups[0] == [0], "CLS stays alone"
        # A destination stands for its group and gives its name to it.
        assert groups(got, b) == [sorted(t - 1 for t in group) for group in want.groups[1:]]
        assert got.keep[b].tolist() == [group[0] - 1 for group in want.groups[1:]]
        torch.testing.assert_close(tokens[b], want.tokens[1:], rtol=1e-4, atol=1e-5)
        assert survivors_size(got, size)[b].tolist() == want.size[1:].tolist()


def test_the_schedule_spends_all_on_the_layers_that_run() -> None:
    counts = ToMe(64).counts(shape(576))
    assert list(counts) == list(range(23)) and counts[22] == 64
    merged = [a - b for a, b in zip([576, *counts.values()], counts.values(), strict=False)]
    assert sum(merged) == 512 and set(merged) == {22, 23}


def test_no_layer_merges_more_than_half() -> None:
    for keep in (2, 5, 16, 64):
        counts = [576, *ToMe(keep).counts(shape(576)).values()]
        assert counts[-1] == keep
        assert all(0 <= a - b <= a // 2 for a, b in itertools.pairwise(counts))
    with pytest.raises(ValueError, match="3 steps leave 72 to 576"):
        ToMe(64, "haurum").sites(shape(576))


def test_earlier_layers_take_over_what_later_ones_cannot() -> None:
    """Even steps to 2 of 8 would be 5, 2; but of 5 tokens two pairs merge at most."""
    assert capped(linear(8, 2, 2), 8, "X") == [4, 2]
    assert capped([11, 5, 2, 1], 16, "X") == [8, 4, 2, 1] and capped([4, 2], 5, "X", limit=3) == [3, 2]
    with pytest.raises(ValueError, match=r"X: 1 of 6 tokens are out of reach.*2 steps leave 2 to 6"):
        capped([3, 1], 6, "X")


def test_haurums_stages_are_those_of_the_benchmark() -> None:
    counts = [576, *ToMe(144, "haurum").counts(shape(576)).values()]
    merged = [a - b for a, b in itertools.pairwise(counts)]
    want = slow.haurum_schedule(0.25 ** (1 / 3), 576, 3)
    assert all(abs(a - b) <= 1 for a, b in zip(merged, want, strict=True)), "rounded here, floored there"


@pytest.mark.parametrize("variant", ["official", "haurum"])
@pytest.mark.parametrize("proportional", [True, False])
def test_in_the_model(model: Any, variant: Any, proportional: bool) -> None:
    got = in_the_model(model, ToMe(4, variant, stages=2, proportional=proportional))
    want = [17, 13, 9, 5] if variant == "official" else [17, 17, 9, 5]
    assert got.trace.vision == [want] * 2 and got.trace.projector == [4, 4]


def test_sizes_count_every_patch_and_reach_the_attention(model: Any) -> None:
    """Merging all and adding log(size) is not the same as without it."""
    with_sizes = in_the_model(model, ToMe(4))
    without = in_the_model(model, ToMe(4, proportional=False))
    assert (with_sizes.logits - without.logits).abs().max() > 1e-3


def test_impossible_values_are_refused() -> None:
    with pytest.raises(ValueError, match="must be 'official' or 'haurum'"):
        ToMe(variant="x")  # type: ignore[arg-type]
    assert host(16).shape.vision.patches == 16
