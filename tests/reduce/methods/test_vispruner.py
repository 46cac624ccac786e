"""VisPruner against the slow reference, and inside the model."""

from __future__ import annotations

from typing import Any

import pytest
from vit_view import batch, in_the_model, shape, view

from prunegrid.reduce.methods.vispruner import VisPruner
from reference import evit
from reference import vispruner as slow

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.mark.parametrize(("patches", "width", "heads"), [(16, 8, 2), (36, 16, 4), (64, 32, 4)])
@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize(
    "options",
    [
        {"keep": 0.2},
        {"keep": 0.5},
        {"keep": 1.0},
        {"keep": 0.2, "important": 0.0},
        {"keep": 0.2, "important": 1.0},
        {"keep": 1, "important": 0.0, "step": 3},
    ],
    ids=str,
)
def test_equals_the_loop(patches: int, width: int, heads: int, samples: int, options: dict[str, Any]) -> None:
    keep = options["keep"] if isinstance(options["keep"], int) else int(patches * options["keep"])
    reducer = VisPruner(**(options | {"keep": keep}))
    given = batch(patches, width, heads, samples)
    r = reducer.reduce(reducer.sites(shape(patches))[0], view(given, -2), None)
    for b, one in enumerate(given):
        a = evit.class_scores(one.attention()[:, 0])
        switches = {k: v for k, v in options.items() if k != "keep"}
        best, diverse = slow.vispruner(one.x[1:], a, keep, **switches)
        assert r.keep[b].tolist() == sorted(best + diverse)


def test_a_large_grid_equals_the_loop() -> None:
    one = batch(144, 16, 4, 1)
    r = VisPruner(16).reduce(VisPruner(16).sites(shape(144))[0], view(one, -2), None)
    a = evit.class_scores(one[0].attention()[:, 0])
    best, diverse = slow.vispruner(one[0].x[1:], a, 16)
    assert r.keep[0].tolist() == sorted(best + diverse)


def test_in_the_model(model: Any) -> None:
    got = in_the_model(model, VisPruner(6, step=2))
    assert got.trace.vision == [[17] * 4] * 2 and got.trace.projector == [6, 6]
    assert all(k == sorted(set(k)) for k in got.trace.kept["features"])


def test_impossible_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"important=1.5 must lie in \[0, 1\]"):
        VisPruner(important=1.5)
    with pytest.raises(ValueError, match="keep=577 is more than the 576 tokens"):
        VisPruner(577).sites(shape(576))
