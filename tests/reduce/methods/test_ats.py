"""ATS against the slow reference, and inside the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from vit_view import FULL, SHAPES, Layer, batch, host, in_the_model, shape, view

from prunegrid.reduce import Reduction
from prunegrid.reduce.methods.ats import ATS, nearest
from reference import ats as slow

pytestmark = pytest.mark.usefixtures("no_grad")


def want(one: Layer, variant: str, most: int, references: int | None = None) -> list[int]:
    row = one.attention()[:, 0]
    if variant == "haurum":
        return slow.sample_haurum(slow.significance_haurum(row, one.v), most)
    limit = max(most, 7) + 1
    s = slow.significance_official(row, one.v)
    return slow.sample_official(s, limit, references=references or limit)


def sampled(r: Reduction, b: int) -> list[int]:
    assert r.valid is not None
    return r.keep[b][r.valid[b]].tolist()


@pytest.mark.parametrize(("patches", "width", "heads"), [*SHAPES, FULL])
@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("variant", ["official", "haurum"])
@pytest.mark.parametrize("share", [0.25, 0.6])
def test_one_stage_equals_the_loop(
    patches: int, width: int, heads: int, samples: int, variant: Any, share: float
) -> None:
    reducer = ATS(int(patches * share), variant, stages=1)
    site, given = reducer.sites(shape(patches))[0], batch(patches, width, heads, samples)
    assert site.layer is not None
    r = reducer.reduce(site, view(given, site.layer), host(patches))
    for b, one in enumerate(given):
        expected = want(one, variant, int(patches * share))
        assert sampled(r, b) == expected
        assert len(expected) <= max(7, int(patches * share))
        assert variant == "official" or expected == sorted(expected)


@pytest.mark.parametrize("references", [40, 197, 1001])
def test_fixed_references_and_the_limit_equal_the_loop(references: int) -> None:
    reducer = ATS(72, stages=1, references=references)
    site, given = reducer.sites(shape(144))[0], batch(144, 32, 4, 3)
    assert site.layer is not None
    r = reducer.reduce(site, view(given, site.layer), host(144))
    lengths = []
    for b, one in enumerate(given):
        assert sampled(r, b) == want(one, "official", 72, references)
        lengths.append(len(sampled(r, b)))
    assert (max(lengths) == 72) == (references > 40), "the inputs do not reach the limit"


@pytest.mark.parametrize("variant", ["official", "haurum"])
def test_a_later_stage_sees_ragged_batches(variant: Any) -> None:
    reducer, counts = ATS(40, variant, stages=1), [144, 97, 60]
    site, given = reducer.sites(shape(144))[0], batch(144, 32, 4, 3)
    assert site.layer is not None
    r = reducer.reduce(site, view(given, site.layer, counts=counts), host(144))
    found = [sampled(r, b) for b in range(3)]
    assert found == [want(one.head(n + 1), variant, 40) for one, n in zip(given, counts, strict=True)]
    assert len({len(f) for f in found}) > 1, "counts do not differ: the test shows nothing"


def test_nearest_takes_the_first_of_equals() -> None:
    cdf = torch.tensor([[0.0, 0.0, 0.25, 0.25, 0.75, 1.0, 1.0]])
    points = torch.tensor([[-1.0, 0.1, 0.125, 0.3, 0.5, 0.9, 1.0, 2.0]])
    assert nearest(cdf, points).tolist() == [[0, 0, 0, 2, 2, 5, 5, 5]]


@pytest.mark.parametrize("variant", ["official", "haurum"])
def test_in_the_model(model: Any, variant: Any) -> None:
    """Dropped rows are dropped between attention and MLP: as if the query had never been asked."""
    got = in_the_model(model, ATS(8, variant, stages=2))
    for b in range(2):
        first, second, third, last = got.trace.vision[b]
        assert first == second == 17 and third <= 12 and last <= 9
        assert got.trace.notes[b]["sampled"] == last - 1 == got.trace.projector[b]


def test_impossible_values_are_refused() -> None:
    with pytest.raises(ValueError, match="references=2 must be at least 3"):
        ATS(references=2)
    with pytest.raises(ValueError, match="keep=577 is more than the 576 tokens"):
        ATS(577).sites(shape(576))
