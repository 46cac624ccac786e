"""The fast PruMerge family against an independent slow reference, on heavy-tailed inputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from prunegrid.reduce import Reduction, TokenView
from prunegrid.reduce.methods.merging import Merging
from prunegrid.reduce.methods.prumerge import PruMerge
from prunegrid.reduce.methods.prumerge_plus import PruMergePlus
from prunegrid.reduce.ops import apply
from prunegrid.reduce.probe import Attended
from reduce import made
from reference import class_attention, inputs, prumerge

HEADS = 4


def view_of(
    images: list[inputs.Image], layer: int, queries: list[tuple[Tensor, Tensor]] | None = None
) -> TokenView:
    """A batch as the session would hand it over. Without queries, every head's softmax is exactly `a`."""
    x = torch.stack([i.x for i in images])
    batch, count, _ = x.shape
    keys = torch.stack([i.keys for i in images]).view(batch, count, HEADS, -1).transpose(1, 2)
    if queries is None:
        rows = [
            torch.cat([1 - i.a.sum().reshape(1), i.a]).log().expand(HEADS, 1, -1) / HEADS**0.5 for i in images
        ]
        logits = torch.stack(rows)
    else:
        logits = torch.stack([(q[:, None] @ k.transpose(1, 2)) * q.shape[-1] ** -0.5 for q, k in queries])
    index = torch.arange(count).expand(batch, -1)
    yes = torch.ones(batch, count, dtype=torch.bool)
    return TokenView(
        tokens=x,
        valid=yes,
        visual=yes,
        index=index,
        position=index,
        size=torch.ones(batch, count),
        prefix=x[:, :1] * 100,  # must not leak into anything
        ids=[str(b) for b in range(batch)],
        keys={layer: keys},
        attended={layer: Attended(logits, torch.ones(batch, 1, dtype=torch.bool))},
        columns={layer: index + 1},
    )


def check(reducer: Merging, images: list[inputs.Image], expected: list[prumerge.Merged], **view: Any) -> None:
    assert reducer.layer is not None
    made = view_of(images, reducer.layer, **view)
    r = reducer.reduce(reducer.sites(None)[0], made, None)  # type: ignore[arg-type]
    assert isinstance(r, Reduction)
    tokens = apply(r, made.tokens, made.prefix)
    for b, want in enumerate(expected):
        live = r.valid[b] if r.valid is not None else torch.ones(r.keep.shape[1], dtype=torch.bool)
        kept = [j for j in r.keep[b][live].tolist() if j >= 0]
        assert kept == want.kept
        torch.testing.assert_close(tokens[b][live], want.tokens, rtol=1e-6, atol=1e-8)


def batches(patches: int) -> list[list[inputs.Image]]:
    """Images of very different outlier counts side by side, so that rows are ragged."""
    counts = inputs.outlier_counts(patches)
    width = {144: 32, 256: 64, 576: 32}[patches]
    images = [inputs.image(patches, width, m, seed=m) for m in counts]
    return [images[::2], images[1::2]]


def sizes(patches: int) -> list[list[inputs.Image]]:
    """All of them, one alone, four at once, and the others."""
    few, many = batches(patches)
    images = [*few, *many]
    return [images[-1:], images[:4], images[4:-1]]


@pytest.mark.parametrize("patches", [144, 256, 576])
@pytest.mark.parametrize("order", ["score", "raster"])
@pytest.mark.parametrize("k", [5, 10, 20, 32])
def test_released_equals_the_loop(patches: int, order: str, k: int) -> None:
    name = {"score": "descending", "raster": "raster"}[order]
    for images in sizes(patches):
        want = [prumerge.prumerge(i.x, i.keys, i.a, k=k, order=name) for i in images]  # type: ignore[arg-type]
        check(PruMerge(k=k, order=order), images, want)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "switches",
    [
        {"similarity": "dot"},
        {"centre": False},
        {"remainder": False},
        {"normalise": True},
        {"merge": False, "remainder": False},
        {"fence": 0.5},
        {"minimum": 50},
        {"select": "topk", "keep": 37},
    ],
    ids=str,
)
def test_every_switch_equals_the_loop(switches: dict[str, Any]) -> None:
    for images in (batches(256)[1][:1], batches(576)[0][::3]):
        want = [prumerge.prumerge(i.x, i.keys, i.a, **({"k": 8} | switches)) for i in images]
        check(PruMerge(**({"k": 8} | switches)), images, want)


def test_the_attention_of_both_readings_equals_the_loop() -> None:
    """Heads agree with each other in every second sample alone."""
    images = batches(144)[0]
    queries = [inputs.query_and_keys(i.a, HEADS, 8, seed=n) for n, i in enumerate(images)]
    for n in range(1, len(images), 2):
        apart = made.patches(144, HEADS, seed=n)
        queries[n] = apart.q[:, 0], apart.k
    for heads, attention in (
        (
            "joined",
            lambda q, k: class_attention.class_attention_released(q.flatten(), k.transpose(0, 1).flatten(1)),
        ),
        ("split", class_attention.class_attention_per_head),
    ):
        reducer = PruMerge(heads=heads)  # type: ignore[arg-type]
        assert reducer.layer is not None
        got = reducer.class_attention(view_of(images, reducer.layer, queries))
        want = torch.stack([attention(q, k) for q, k in queries])
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


def test_paper_variant_equals_the_loop() -> None:
    """Split heads at the layer before the last, dot products with pruned tokens only, no centre, no remainder."""
    images = batches(144)[1]
    reducer = PruMergePlus(variant="paper", sampling="paper", k=8, order="score")
    queries = [inputs.query_and_keys(i.a, HEADS, 8, seed=n) for n, i in enumerate(images)]
    want = [prumerge.prumerge_plus_paper(i.x, i.keys, i.a, spatial="pruned", k=8) for i in images]
    assert reducer.layer == -2
    made = view_of(images, -2, queries)
    r = reducer.reduce(reducer.sites(None)[0], made, None)  # type: ignore[arg-type]
    assert r.valid is not None
    for b, expected in enumerate(want):
        assert r.keep[b][r.valid[b]].tolist() == expected.kept


@pytest.mark.parametrize("keep", [0.25, 0.5])
def test_plus_fixed_equals_the_loop_duplicates_included(keep: float) -> None:
    images = batches(576)[0][::2]
    want = [prumerge.prumerge_plus_fixed(i.x, i.keys, i.a, ratio=keep / 2) for i in images]
    assert any(len(set(w.kept)) < len(w.kept) for w in want), (
        "no duplicate in the inputs: the test shows nothing"
    )
    assert {len(w.tokens) for w in want} == {{0.25: 145, 0.5: 289}[keep]}, "the published 25 % and 50 %"
    check(PruMergePlus(keep=keep), images, want)


@pytest.mark.parametrize("patches", [144, 256, 576])
def test_plus_adaptive_equals_the_loop(patches: int) -> None:
    for images in sizes(patches):
        want = [prumerge.prumerge_plus_adaptive(i.x, i.keys, i.a, k=9) for i in images]
        check(PruMergePlus(sampling="adaptive", k=9), images, want)


def test_one_ratio_for_the_batch_counts_as_the_released_code() -> None:
    images = batches(576)[0]
    pooled = torch.cat([i.a for i in images])
    q1, q3 = (prumerge.percentile(pooled.tolist(), p) for p in (25, 75))
    m = int(576 * (int((pooled > q3 + 1.5 * (q3 - q1)).sum()) / len(pooled)))
    reducer = PruMerge(ratio="batch")
    made = view_of(images, -1)
    counts = reducer.outliers(reducer.class_attention(made), made.valid)
    assert counts.tolist() == [m] * len(images)
