"""PruMerge behind a reduction that left different numbers of patches: each sample as the loop has it alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_prumerge_parity import view_of
from test_twins import even

from prunegrid.reduce import TokenView
from prunegrid.reduce.methods.merging import Merging
from prunegrid.reduce.methods.prumerge import PruMerge
from prunegrid.reduce.methods.prumerge_plus import PruMergePlus
from prunegrid.reduce.ops import apply
from prunegrid.reduce.probe import Attended
from reference import inputs, prumerge

pytestmark = pytest.mark.usefixtures("no_grad")
COUNTS = [144, 60, 101]


def alone(image: inputs.Image, n: int) -> inputs.Image:
    """The first n patches; they share the attention of those that are not there with the class token."""
    a = image.a[:n] / (1 - image.a[n:].sum())
    return inputs.Image(image.x[:n], image.keys[:n], a)


def ragged(images: list[inputs.Image], layer: int) -> TokenView:
    """The keys and features behind a sample's own patches are the loudest of all, and nobody looks at them."""
    made = view_of(images, layer)
    valid = torch.arange(COUNTS[0]) < torch.tensor(COUNTS)[:, None]
    logits = made.attended[layer].logits.clone()
    logits[:, :, :, 1:] = logits[:, :, :, 1:].masked_fill(~valid[:, None, None], -torch.inf)
    tokens = made.tokens.masked_fill(~valid[..., None], 1e3)
    keys = torch.where(valid[:, None, :, None], made.keys[layer], 50 * made.keys[layer][:, :, :1])
    return replace(
        made,
        tokens=tokens,
        valid=valid,
        visual=valid,
        full=False,
        keys={layer: keys},
        attended={layer: Attended(logits, made.attended[layer].real)},
    )


CASES: list[tuple[Merging, Any, dict[str, Any]]] = [
    (PruMerge(k=9), prumerge.prumerge, {"k": 9}),
    (PruMerge(k=9, similarity="dot"), prumerge.prumerge, {"k": 9, "similarity": "dot"}),
    (PruMerge(k=9, order="raster"), prumerge.prumerge, {"k": 9, "order": "raster"}),
    (PruMerge(k=9, select="topk", keep=20), prumerge.prumerge, {"k": 9, "select": "topk", "keep": 20}),
    (PruMerge(k=9, select="topk", keep=0.2), prumerge.prumerge, {"k": 9, "select": "topk", "keep": 0.2}),
    (PruMerge(k=9, select="topk", keep=0.001), prumerge.prumerge, {"k": 9, "select": "topk", "keep": 0.001}),
    (PruMergePlus(sampling="adaptive", k=9), prumerge.prumerge_plus_adaptive, {"k": 9}),
    (PruMergePlus(k=9), prumerge.prumerge_plus_fixed, {"k": 9, "ratio": 1 / 8}),
]


@pytest.mark.parametrize(
    ("reducer", "loop", "options"),
    CASES,
    ids=["iqr", "dot", "raster", "topk", "share", "least", "plus", "fixed"],
)
def test_each_sample_is_as_the_loop_has_it_alone(
    reducer: Merging, loop: Any, options: dict[str, Any]
) -> None:
    images = [inputs.image(144, 32, m, seed=m) for m in (13, 9, 20)]
    assert reducer.layer is not None
    made = ragged(images, reducer.layer)
    r = reducer.reduce(reducer.sites(None)[0], made, None)
    assert r is not None and r.valid is not None
    tokens, outliers = apply(r, made.tokens, made.prefix), []
    for b, (image, n) in enumerate(zip(images, COUNTS, strict=True)):
        one = alone(image, n)
        given = dict(options)
        if isinstance(options.get("keep"), float):
            given["keep"] = max(1, int(n * options["keep"] + 0.5))
        want = loop(one.x, one.keys, one.a, **given)
        live = r.valid[b]
        assert [j for j in r.keep[b][live].tolist() if j >= 0] == want.kept
        torch.testing.assert_close(tokens[b][live], want.tokens, rtol=1e-6, atol=1e-8)
        outliers.append(len(prumerge.iqr_outliers(one.a)))
        said = given.get("keep") or (int(n * options["ratio"]) if "ratio" in options else outliers[b])
        assert r.note["selected"][b] == said
    assert len(set(outliers)) == 3, "counts do not differ: the test shows less than it says"


@pytest.mark.parametrize("keep", [0.2, 0.9, 1.0, 0.001, 30, 100])
def test_half_by_attention_half_by_place_is_of_a_samples_own(keep: int | float) -> None:
    images = [inputs.image(144, 32, m, seed=m) for m in (13, 9, 20)]
    reducer = PruMergePlus(sampling="topk", keep=keep, k=9)
    r = reducer.reduce(reducer.sites(None)[0], ragged(images, -1), None)
    assert r.valid is not None
    for b, (image, n) in enumerate(zip(images, COUNTS, strict=True)):
        total = min(n, keep) if isinstance(keep, int) else max(1, int(n * keep + 0.5))
        top = prumerge.select_topk(image.a[:n], (total + 1) // 2)
        more = even(top, total // 2, n) if total > 1 else []
        assert r.keep[b][r.valid[b]].tolist() == [*top, *more, -1]


def test_what_lies_on_the_fence_is_no_outlier() -> None:
    """Q1 = 2, Q3 = 6: the fence is exactly 12."""
    a = torch.tensor(
        [[0.0, 1, 1, 2, 3, 4, 4, 5, 5, 6, 7, 12, 12], [0.0, 1, 1, 2, 3, 4, 4, 5, 5, 6, 7, 12.5, 13]]
    )
    found = PruMerge().outliers(a, torch.ones(a.shape, dtype=torch.bool))
    assert found.tolist() == [1, 2], "the minimum of the first, both of the second"
