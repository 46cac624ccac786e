"""The baselines of one line each against their loops: first tokens, grids, averages, TopK in one shot, random."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from vit_view import FULL, SHAPES, batch, host, in_the_model, shape, view

from prunegrid.reduce import Host, Reducer
from prunegrid.reduce.methods.random import Random
from prunegrid.reduce.methods.sequential import Sequential
from prunegrid.reduce.methods.spatial import Spatial
from prunegrid.reduce.methods.spatial_pool import SpatialPool
from prunegrid.reduce.methods.topk_cls import TopKCls
from prunegrid.reduce.ops import apply, survivors_size
from reduce import lab, oracle
from reference import baselines as slow
from reference import evit

pytestmark = pytest.mark.usefixtures("no_grad")
ANY = pytest.mark.parametrize(("patches", "width", "heads"), [*SHAPES, FULL])
SAMPLES = pytest.mark.parametrize("samples", [1, 4])


def kept(reducer: Reducer, given: Any, state: Host) -> list[list[int]]:
    r = reducer.reduce(reducer.sites(state.shape)[0], view(given, -2), state)
    assert r is not None and r.valid is None
    return r.keep.tolist()


@ANY
@SAMPLES
def test_choices_equal_the_loops(patches: int, width: int, heads: int, samples: int) -> None:
    given, state, side = batch(patches, width, heads, samples), host(patches), round(patches**0.5)
    n = patches // 9
    assert kept(Sequential(n), given, state) == [slow.sequential(patches, n)] * samples
    for rows, columns in ((side // 2, side // 3), (side // 4, side // 2), (1, side), (side, 1), (3, 3)):
        want = slow.spatial_grid(side, rows, columns)
        assert kept(Spatial(rows, columns), given, state) == [want] * samples
    by_attention = [slow.topk_cls(evit.class_scores(one.attention()[:, 0]), n) for one in given]
    assert kept(TopKCls(n), given, state) == by_attention


@ANY
@SAMPLES
def test_cells_are_averaged_as_the_loop_does(patches: int, width: int, heads: int, samples: int) -> None:
    given, side = batch(patches, width, heads, samples), round(patches**0.5)
    for out in (1, 2, side // 2, side):
        reducer, made = SpatialPool(out), view(given, -2)
        r = reducer.reduce(reducer.sites(shape(patches))[0], made, host(patches))
        tokens = apply(r, made.tokens, made.prefix)
        for b, one in enumerate(given):
            torch.testing.assert_close(tokens[b], slow.spatial_pool(one.x[1:], side, out))
            assert r.keep[b].tolist() == slow.spatial_grid(side, out, out), "the centre stands for its cell"
        assert survivors_size(r, made.size).unique().tolist() == [(side // out) ** 2]


def test_random_is_uniform_without_replacement_and_takes_no_padding() -> None:
    """Each of 16 patches is among 4 in a quarter of 2000 draws; standard deviation .0097."""
    made = view(batch(16, 8, 2, 1), -2)
    ids = [f"{i}" for i in range(2000)]
    many = replace(
        made,
        tokens=made.tokens.expand(2000, -1, -1),
        valid=made.valid.expand(2000, -1),
        index=made.index.expand(2000, -1),
        ids=ids,
    )
    for counts, patches in ((None, 16), (10, 10)):
        valid = many.valid if counts is None else many.valid & (torch.arange(16) < counts)
        r = Random(4).reduce(
            Random(4).sites(shape(16))[0], replace(many, valid=valid, full=counts is None), host(16)
        )
        assert all(row == sorted(set(row)) and len(row) == 4 for row in r.keep.tolist())
        share = torch.bincount(r.keep.flatten(), minlength=16) / 2000
        assert (share[:patches] - 4 / patches).abs().max() < 0.05 and not share[patches:].any()
        pairs = (r.keep[:, 1] == r.keep[:, 0] + 1).double().mean()
        assert pairs < 0.5, "neighbours come no more often than others"


def test_a_draw_follows_from_the_seed_and_the_sample_alone() -> None:
    given, where = batch(64, 8, 2, 4), shape(64)
    first, again, other = (kept(Random(9), given, Host(where, seed)) for seed in (3, 3, 4))
    assert first == again and all(a != b for a, b in zip(first, other, strict=True))
    assert len({tuple(row) for row in first}) == 4, "samples draw for themselves"
    assert kept(Random(9), given[:2], Host(where, 3)) == first[:2]


def test_topk_reads_the_layer_that_made_the_features(model: Any) -> None:
    got = in_the_model(model, TopKCls(5))
    for b in range(2):
        x = oracle.vit(model, oracle.patches(model, lab.batch()["pixel_values"][b : b + 1]), 0, lab.SOURCE)
        _, attention = oracle.vit_attention(model.model.vision_tower.encoder.layers[lab.SOURCE], x)
        want = slow.topk_cls(evit.class_scores(attention[:, 0]), 5)
        assert got.trace.kept["features"][b] == want


def test_impossible_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"25 x 6 must lie in 1 x 1 .. 24 x 24"):
        Spatial(25, 6).sites(shape(576))
    with pytest.raises(ValueError, match="out=7 must divide the 24 patches per side"):
        SpatialPool(7).sites(shape(576))
