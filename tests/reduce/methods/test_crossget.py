"""CrossGET's matching against the slow reference, and inside the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from vit_view import Layer, batch, groups, host, in_the_model, shape, view

from prunegrid.reduce.methods.crossget import CrossGET
from prunegrid.reduce.ops import apply, survivors_size
from reference import crossget as slow

pytestmark = pytest.mark.usefixtures("no_grad")


def crossed(one: Layer) -> tuple[Tensor, Tensor, Tensor]:
    """Features, keys and attention with a cross token at the end: CLS's own row, seen by nobody."""
    attention = one.attention()
    attention = torch.cat([attention, attention[:, :1]], 1)
    attention = torch.cat([attention, torch.zeros_like(attention[:, :, :1])], 2)
    return torch.cat([one.x, one.x[:1]]), torch.cat([one.k, one.k[:, :1]], 1), attention


@pytest.mark.parametrize(("patches", "width", "heads"), [(16, 8, 2), (36, 16, 4), (64, 32, 4)])
@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("share", [0.1, 0.4])
def test_one_layer_equals_the_loop(patches: int, width: int, heads: int, samples: int, share: float) -> None:
    given, r = batch(patches, width, heads, samples), max(1, int(patches * share))
    g = torch.Generator().manual_seed(patches)
    size = torch.randint(1, 5, (samples, patches), generator=g).float()
    reducer = CrossGET(patches - 3 * r if share == 0.1 else patches - r)
    model = host(patches, 4 if share == 0.1 else 2)  # three layers, or one, that run
    site, made = reducer.sites(model.shape)[0], view(given, 0, size)
    got = reducer.reduce(site, made, model)
    assert got is not None and got.keep.shape[1] == patches - r
    tokens = apply(got, made.tokens, made.prefix)
    for b, one in enumerate(given):
        ones = torch.ones(1)
        want = slow.crossget_merge(*crossed(one), torch.cat([ones, size[b], ones]), r)
        assert got.keep[b].tolist() == [group[0] - 1 for group in want.groups[1:-1]], "order kept"
        assert groups(got, b) == [sorted(t - 1 for t in group) for group in want.groups[1:-1]]
        torch.testing.assert_close(tokens[b], want.tokens[1:-1], rtol=1e-4, atol=1e-5)
        assert survivors_size(got, size)[b].tolist() == want.size[1:-1].tolist()


def test_the_default_is_the_released_13_per_layer() -> None:
    counts = CrossGET().counts(shape(576))
    assert counts == [576 - 13 * i for i in range(1, 24)] and counts[-1] + 1 == 278, "with the cross token"


def test_in_the_model(model: Any) -> None:
    got = in_the_model(model, CrossGET(7))
    assert got.trace.vision == [[17, 14, 11, 8]] * 2 and got.trace.projector == [7, 7]
    plain = in_the_model(model, CrossGET(7, proportional=False))
    assert (got.logits - plain.logits).abs().max() > 1e-3
    for kept in got.trace.kept.values():
        assert all(k == sorted(k) for k in kept)


def test_impossible_values_are_refused() -> None:
    with pytest.raises(ValueError, match="1 steps leave 9 to 16"):
        CrossGET(8).sites(shape(16, 2))
