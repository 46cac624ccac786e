"""DivPrune against the slow reference, and inside the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from vit_view import batch, in_the_model, shape, view

from prunegrid.reduce.methods.divprune import DivPrune
from reference import divprune as slow

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.mark.parametrize(("patches", "width"), [(16, 8), (36, 16), (64, 128)])
@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_equals_the_loop(patches: int, width: int, samples: int, share: float) -> None:
    keep = max(1, int(patches * share))
    given, reducer = batch(patches, width, 2, samples), DivPrune(keep)
    r = reducer.reduce(reducer.sites(shape(patches))[0], view(given, 0), None)
    for b, one in enumerate(given):
        assert r.keep[b].tolist() == slow.divprune(one.x[1:], keep)


def test_the_released_share_of_576_is_56() -> None:
    reducer = DivPrune(0.098)
    r = reducer.reduce(reducer.sites(shape(576))[0], view(batch(576, 16, 2, 1), 0), None)
    assert r.keep.shape[1] == slow.kept_count(0.098, 576) == 56


def test_a_large_grid_equals_the_loop() -> None:
    one, reducer = batch(144, 16, 2, 1), DivPrune(0.1)
    r = reducer.reduce(reducer.sites(shape(144))[0], view(one, 0), None)
    assert r.keep[0].tolist() == slow.divprune(one[0].x[1:], 14)


def test_the_length_of_a_token_does_not_matter_and_duplicates_come_last() -> None:
    one = batch(16, 8, 2, 1)[0]
    one.x[9] = 3 * one.x[5]  # patches 8 and 4
    r = DivPrune(15).reduce(DivPrune(15).sites(shape(16))[0], view([one], 0), None)
    assert len({4, 8} & set(r.keep[0].tolist())) == 1
    assert torch.equal(r.keep, r.keep.sort(1).values)


def test_in_the_model(model: Any) -> None:
    got = in_the_model(model, DivPrune(5))
    assert got.trace.vision == [[17] * 4] * 2
    assert got.trace.projector == [16, 16], "it must see all projected tokens"
    assert all(len(kept) == 5 for kept in got.trace.kept["embeds"])


def test_impossible_values_are_refused() -> None:
    with pytest.raises(ValueError, match="keep=577 is more than the 576 tokens"):
        DivPrune(577).sites(shape(576))
