"""EViT against the slow reference, and inside the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from vit_view import SHAPES, batch, groups, host, in_the_model, shape, view

from prunegrid.reduce.methods.evit import EViT
from prunegrid.reduce.ops import apply, survivors_size
from reference import evit as slow

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.mark.parametrize(("patches", "width", "heads"), SHAPES)
@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("fuse", [True, False])
def test_one_stage_equals_the_loop(patches: int, width: int, heads: int, samples: int, fuse: bool) -> None:
    reducer = EViT(keep=patches // 4, stages=1, fuse=fuse)
    site = reducer.sites(shape(patches))[0]
    assert site.layer is not None
    given = batch(patches, width, heads, samples)
    made = view(given, site.layer)
    r = reducer.reduce(site, made, host(patches))
    assert r is not None and r.keep.shape[1] == patches // 4
    tokens = apply(r, made.tokens, made.prefix)
    for b, one in enumerate(given):
        a = slow.class_scores(one.attention()[:, 0])
        want = slow.evit_step(one.x[1:], a, patches // 4 - fuse, fuse=fuse)
        assert [j for j in r.keep[b].tolist() if j >= 0] == want.kept
        torch.testing.assert_close(tokens[b], want.tokens, rtol=1e-4, atol=1e-5)
        if fuse:
            assert groups(r, b)[-1] == [j for j in range(patches) if j not in want.kept]
            assert survivors_size(r, made.size)[b].sum() == patches


def test_the_fused_token_competes_and_weighs_as_any_other() -> None:
    """A second stage over tokens of which one is fused: it is number N - 1 and ranked by its own attention."""
    reducer = EViT(keep=36, stages=2)
    site = reducer.sites(shape(144))[1]
    assert site.layer is not None
    given = batch(72, 32, 4, 2)
    r = reducer.reduce(site, view(given, site.layer), host(144))
    assert r is not None and r.keep.shape[1] == 36
    for b, one in enumerate(given):
        want = slow.evit_step(one.x[1:], slow.class_scores(one.attention()[:, 0]), 35)
        assert r.keep[b, :-1].tolist() == want.kept


def test_counts_by_budget_and_by_rate() -> None:
    assert EViT(keep=144).kept(shape(576), 3) == [362, 228, 143], "363, 229, 144 with the fused token"
    assert EViT(keep=144, fuse=False).kept(shape(576), 3) == [363, 229, 144]
    official, haurum = (EViT(variant, rate=0.63).kept(shape(576), 3) for variant in ("official", "haurum"))
    now, want = 576, []
    for _ in range(3):
        want.append(slow.kept_count(0.63, now))
        now = want[-1] + 1
    assert official == want
    assert haurum == [slow.kept_count_haurum(0.63, s, 576) for s in (1, 2, 3)]


@pytest.mark.parametrize("fuse", [True, False])
def test_in_the_model(model: Any, fuse: bool) -> None:
    got = in_the_model(model, EViT(keep=4, stages=2, fuse=fuse))
    assert got.trace.vision == [[17, 17, 9, 5]] * 2 and got.trace.projector == [4, 4]
    assert all((kept[-1] == -1) == fuse for kept in got.trace.kept["vision2"])


def test_a_rate_leaves_its_fused_tokens_on_top(model: Any) -> None:
    got = in_the_model(model, EViT("official", rate=0.5, layers=(0, 1)))
    assert got.trace.vision == [[17, 10, 7, 7]] * 2


def test_impossible_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rate=1.5 must lie in \(0, 1\]"):
        EViT("official", rate=1.5)
    with pytest.raises(ValueError, match="at least 2"):
        EViT(keep=1).sites(shape(576))
    with pytest.raises(
        ValueError, match=r"layers \[6, 23\] must be different layers in ascending order, from 0 to 22"
    ):
        EViT(keep=64, layers=(6, 23)).sites(shape(576))
