"""Fixed-k twins of the adaptive methods: the same score at the same place, the same number for every picture."""

from __future__ import annotations

from typing import Any

import pytest
from vit_view import SHAPES, batch, host, in_the_model, shape, view

from prunegrid.reduce import Reduction
from prunegrid.reduce.methods.ats import ATS
from prunegrid.reduce.methods.prumerge import PruMerge
from prunegrid.reduce.methods.prumerge_plus import PruMergePlus
from prunegrid.reduce.methods.vtip import VTIP
from prunegrid.shape import llava15_7b
from reference import ats, inputs, prumerge, vtip
from reference.progressive import geometric_counts

pytestmark = pytest.mark.usefixtures("no_grad")


def even(chosen: list[int], more: int, patches: int) -> list[int]:
    """`more` patches at the middles of equal stretches of those not chosen."""
    pool = [j for j in range(patches) if j not in chosen]
    return [pool[int((i + 0.5) * len(pool) / more)] for i in range(more)]


@pytest.mark.parametrize("keep", [1, 2, 9, 40])
@pytest.mark.parametrize("samples", [1, 4])
def test_prumerge_plus_takes_half_by_attention_half_by_place(keep: int, samples: int) -> None:
    from test_prumerge_parity import view_of

    images = [inputs.image(144, 32, 3 * b + 4, seed=b) for b in range(samples)]
    reducer = PruMergePlus(sampling="topk", keep=keep, k=9)
    r = reducer.reduce(reducer.sites(None)[0], view_of(images, -1), None)
    assert isinstance(r, Reduction) and r.valid is not None and r.valid.all()
    for b, image in enumerate(images):
        top = prumerge.select_topk(image.a, (keep + 1) // 2)
        assert r.keep[b].tolist() == [*top, *(even(top, keep // 2, 144) if keep > 1 else []), -1]


@pytest.mark.parametrize(("patches", "width", "heads"), SHAPES)
@pytest.mark.parametrize("variant", ["official", "haurum"])
def test_ats_takes_the_most_significant(patches: int, width: int, heads: int, variant: Any) -> None:
    reducer = ATS(patches // 4, variant, stages=1, select="top")
    site, given = reducer.sites(shape(patches))[0], batch(patches, width, heads, 3)
    assert site.layer is not None
    r = reducer.reduce(site, view(given, site.layer), host(patches))
    for b, one in enumerate(given):
        significance = ats.significance_official if variant == "official" else ats.significance_haurum
        values = significance(one.attention()[:, 0], one.v).tolist()
        best = sorted(range(patches), key=lambda j: values[j])[-(patches // 4) :]
        assert r.keep[b].tolist() == (best if variant == "official" else sorted(best))


@pytest.mark.parametrize("reading", ["once", "spread"])
def test_vtip_keeps_as_many_at_its_own_place(reading: Any) -> None:
    reducer = VTIP("first", reading=reading, keep=127)
    layers = [s.layer for s in reducer.sites(llava15_7b())]
    assert layers == ([2] if reading == "once" else list(range(3, 23)))
    state = reducer.start(host(576))
    want = [127] if reading == "once" else geometric_counts(576, 127, 20)
    assert [state.counts[i] for i in layers if i is not None] == want
    given = batch(144, 32, 4, 4)
    made, state = view(given, layers[-1] or 0), VTIP("first", reading=reading, keep=30).start(host(144))
    r = reducer.reduce(reducer.sites(llava15_7b())[-1], made, state)
    assert r is not None
    for b, one in enumerate(given):
        d = vtip.similarity(one.q[:, 0], one.k)
        assert r.keep[b].tolist() == sorted(sorted(range(144), key=lambda j: (-d[j], j))[:30])


@pytest.mark.parametrize(
    "reducer",
    [
        PruMerge(select="topk", keep=5, remainder=False),
        PruMergePlus(sampling="topk", keep=5, remainder=False),
        ATS(5, select="top", stages=2),
        VTIP("first", reading="once", keep=5, after=1),
        VTIP("first", reading="spread", keep=5, after=1),
    ],
    ids=lambda r: f"{type(r).__name__}-{getattr(r, 'reading', '')}",
)
def test_in_the_model_every_picture_gets_its_budget(model: Any, reducer: Any) -> None:
    got = in_the_model(model, reducer)
    assert [v[0] for v in got.trace.visual] == [5, 5]


def test_impossible_twins_are_refused() -> None:
    with pytest.raises(ValueError, match="reading='once' needs keep"):
        VTIP(reading="once")
    with pytest.raises(ValueError, match="reading='bend' finds its own number"):
        VTIP(reading="bend", keep=5)
    with pytest.raises(ValueError, match="keep=577 is more than the 576 tokens"):
        VTIP(reading="spread", keep=577).sites(llava15_7b())
    with pytest.raises(ValueError, match="needs a share"):
        PruMergePlus(keep=5)
    with pytest.raises(ValueError, match="'sample' or 'top'"):
        ATS(select="x")  # type: ignore[arg-type]
