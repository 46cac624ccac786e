"""Image downsampling inside the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from vit_view import host, in_the_model, shape

from prunegrid.reduce import Place, Reducer, Site
from prunegrid.reduce.methods.downsample import Downsample
from reduce import lab

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.mark.parametrize("side", [1, 2, 3])
@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_the_tower_sees_a_smaller_grid(model: Any, side: int, mode: Any) -> None:
    got = in_the_model(model, Downsample(side, mode))
    assert got.trace.vision == [[1 + side**2] * 4] * 2 and got.trace.projector == [side**2] * 2


def test_the_full_side_changes_nothing(model: Any) -> None:
    got, want = (lab.answer(model, r, lab.batch()) for r in (Downsample(4), Reducer()))
    lab.close(got.logits, want.logits)


def test_pixels_are_averaged_not_picked() -> None:
    """Noise is averaged away (4 x 4 pixels each), a flat picture stays what it is."""
    site, reducer = Site(Place.IMAGE), Downsample(1)
    flat, noise = (
        torch.ones(1, 3, 56, 56),
        torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(0)),
    )
    torch.testing.assert_close(reducer.edit(site, flat, host(16)), torch.ones(1, 3, 14, 14))
    assert reducer.edit(site, noise, host(16)).std() < 0.4
    assert reducer.edit(site, noise.bfloat16(), host(16)).dtype == torch.bfloat16


def test_impossible_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"side=25 must lie in 1..24"):
        Downsample(25).sites(shape(576))
    with pytest.raises(ValueError, match="mode='x' must be"):
        Downsample(mode="x")  # type: ignore[arg-type]
