"""VisionZip against the slow reference, and inside the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from vit_view import FULL, SHAPES, batch, groups, in_the_model, shape, view

from prunegrid.reduce.methods.visionzip import VisionZip
from prunegrid.reduce.ops import apply, survivors_size
from reference import visionzip as slow
from reference.inputs import image

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.mark.parametrize(("patches", "width", "heads"), [*SHAPES, FULL])
@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize(("keep", "contextual"), [(0.3, 0.1), (0.3, 0), (0.9, 0.5), (0.15, 0.14)])
def test_equals_the_loop(
    patches: int, width: int, heads: int, samples: int, keep: float, contextual: float
) -> None:
    more = int(patches * contextual)
    reducer = VisionZip(max(int(patches * keep), more + 1), more)
    site, given = reducer.sites(shape(patches))[0], batch(patches, width, heads, samples)
    made = view(given, -2)
    r = reducer.reduce(site, made, None)
    assert r.keep.shape == (samples, reducer.keep)
    tokens = apply(r, made.tokens, made.prefix)
    for b, one in enumerate(given):
        want = slow.visionzip(one.x, one.k, one.attention()[:, 0], reducer.keep - more, more)
        assert r.keep[b].tolist() == [*want.dominant, *want.targets]
        torch.testing.assert_close(tokens[b], want.tokens, rtol=1e-4, atol=1e-5)
        joined = [sorted([t, *a]) for t, a in zip(want.targets, want.assigned, strict=True)]
        assert groups(r, b) == [[], *([j] for j in want.dominant[1:]), *joined]
        stand = survivors_size(r, made.size)[b].sum()
        assert stand == (patches if more else reducer.keep - 1), "CLS stands for no patch"


def test_a_contextual_token_is_a_sum_as_released() -> None:
    """With one patch everywhere, the contextual tokens are twice it, and the dominant ones are it."""
    one = batch(16, 8, 2, 1)[0]
    one.x[1:] = image(16, 8, 2).x[:1].float()
    reducer = VisionZip(8, 3)
    tokens = apply(
        reducer.reduce(reducer.sites(shape(16))[0], made := view([one], -2), None), made.tokens, made.prefix
    )
    torch.testing.assert_close(tokens[0, 1:5], one.x[1:5])
    torch.testing.assert_close(tokens[0, 5:], 2 * one.x[1:4])
    assert torch.equal(tokens[0, 0], one.x[0]), "CLS goes to the language model"


def test_in_the_model(model: Any) -> None:
    got = in_the_model(model, VisionZip(6, 2))
    assert got.trace.vision == [[17] * 4] * 2 and got.trace.projector == [6, 6]
    assert all(kept[0] == -1 for kept in got.trace.kept["features"])


@pytest.mark.parametrize(("keep", "contextual"), [(0.25, 7), (36, 0.05), (0.25, 0.05)])
def test_shares_are_of_the_patches(keep: float, contextual: float) -> None:
    made = view(batch(144, 16, 2, 2), -2)
    got, want = (
        r.reduce(r.sites(shape(144))[0], made, None) for r in (VisionZip(keep, contextual), VisionZip(36, 7))
    )
    assert torch.equal(got.keep, want.keep)
    assert got.weights is not None and want.weights is not None
    assert torch.equal(got.weights, want.weights)


def test_impossible_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"keep=0\.1 must exceed contextual=0\.2"):
        VisionZip(0.1, 0.2)
    with pytest.raises(ValueError, match=r"contextual=1\.0 must be 0, a number of tokens or a share below 1"):
        VisionZip(0.1, 1.0)
    with pytest.raises(ValueError, match=r"keep=0\.05 must exceed contextual=10"):
        VisionZip(0.05, 10).sites(shape(144))
    with pytest.raises(ValueError, match="keep=10 must exceed contextual=10"):
        VisionZip(10, 10)
    with pytest.raises(ValueError, match="more than the 577 tokens there are, with CLS"):
        VisionZip(578).sites(shape(576))
