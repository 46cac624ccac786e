"""The received-attention score against the full attention matrix, and inside the model."""

from __future__ import annotations

from typing import Any

import pytest
from vit_view import FULL, SHAPES, batch, in_the_model, shape, view

from prunegrid.reduce.methods.received import Received

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.mark.parametrize(("patches", "width", "heads"), [*SHAPES, FULL])
@pytest.mark.parametrize("samples", [1, 4])
def test_equals_the_columns_of_the_full_matrix(patches: int, width: int, heads: int, samples: int) -> None:
    reducer, given = Received(patches // 9), batch(patches, width, heads, samples)
    r = reducer.reduce(reducer.sites(shape(patches))[0], view(given, -2), None)
    assert r is not None
    for b, one in enumerate(given):
        columns = one.attention().mean((0, 1))[1:].tolist()
        best = sorted(range(patches), key=lambda j: -columns[j])[: patches // 9]
        assert r.keep[b].tolist() == sorted(best)


def test_in_the_model(model: Any) -> None:
    got = in_the_model(model, Received(5))
    assert got.trace.vision == [[17] * 4] * 2 and got.trace.projector == [5, 5]
