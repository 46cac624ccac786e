"""PruMerge's readings that lie beside the released defaults: any layer, the paper's own merging."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from test_prumerge_parity import HEADS, batches, view_of
from torch import Tensor

from prunegrid.reduce import Reduction
from prunegrid.reduce.methods.prumerge import PruMerge
from prunegrid.reduce.methods.prumerge_plus import PruMergePlus
from prunegrid.reduce.ops import apply
from reduce import lab, oracle
from reference import class_attention, inputs, prumerge

pytestmark = pytest.mark.usefixtures("no_grad")


def paper(image: inputs.Image, a: Tensor, kept: list[int], k: int) -> Tensor:
    """[n, C]: each kept token from the k pruned ones of the highest dot product alone, weights a; no centre."""
    rest = [j for j in range(len(a)) if j not in kept]
    options: dict[str, Any] = {"k": k, "similarity": "dot", "centre": False, "remainder": False}
    one = [prumerge.merge_centres(image.x, image.keys, a, [i], rest, **options) for i in kept]
    return torch.cat([m.tokens for m in one])


@pytest.mark.parametrize("patches", [144, 576])
@pytest.mark.parametrize("k", [5, 10, 20, 32])
@pytest.mark.parametrize("order", ["raster", "score"])
def test_the_papers_tokens_equal_the_loop(patches: int, k: int, order: Literal["raster", "score"]) -> None:
    images = batches(patches)[1]
    queries = [inputs.query_and_keys(i.a, HEADS, 8, seed=n) for n, i in enumerate(images)]
    reducer = PruMerge(variant="paper", k=k, order=order)
    made = view_of(images, -2, queries)
    r = reducer.reduce(reducer.sites(None)[0], made, None)
    tokens = apply(r, made.tokens, made.prefix)
    for b, (image, query) in enumerate(zip(images, queries, strict=True)):
        a = class_attention.class_attention_per_head(*query)
        kept = prumerge.iqr_outliers(a) or prumerge.select_topk(a, 1)
        kept = sorted(kept) if order == "raster" else kept
        live = torch.ones_like(r.keep[b], dtype=torch.bool) if r.valid is None else r.valid[b]
        assert r.keep[b][live].tolist() == kept
        torch.testing.assert_close(tokens[b][live], paper(image, a, kept, k), rtol=1e-6, atol=1e-8)


def test_the_papers_plus_tokens_equal_the_loop() -> None:
    images = batches(144)[1]
    queries = [inputs.query_and_keys(i.a, HEADS, 8, seed=n) for n, i in enumerate(images)]
    reducer = PruMergePlus(variant="paper", sampling="paper", k=8)
    made = view_of(images, -2, queries)
    r = reducer.reduce(reducer.sites(None)[0], made, None)
    assert isinstance(r, Reduction) and r.valid is not None
    tokens = apply(r, made.tokens, made.prefix)
    for b, (image, query) in enumerate(zip(images, queries, strict=True)):
        a = class_attention.class_attention_per_head(*query)
        kept = sorted(prumerge.prumerge_plus_paper(image.x, image.keys, a, spatial="pruned", k=8).kept)
        assert r.keep[b][r.valid[b]].tolist() == kept
        torch.testing.assert_close(tokens[b][r.valid[b]], paper(image, a, kept, 8), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("layer", [-3, 5, 11])
def test_the_keys_and_the_attention_are_those_of_the_layer(layer: int) -> None:
    """Other layers' are there too, of other pictures."""
    images, others = batches(144)[0], batches(144)[0][::-1]
    reducer = PruMerge(k=8, layer=layer)
    assert reducer.sites(None)[0].probe.layers == (layer,)  # type: ignore[union-attr]
    right, wrong = view_of(images, layer), view_of(others, -1)
    made = replace(
        right,
        keys=wrong.keys | right.keys,
        attended=wrong.attended | right.attended,
        columns=wrong.columns | right.columns,
    )
    r = reducer.reduce(reducer.sites(None)[0], made, None)
    tokens = apply(r, made.tokens, made.prefix)
    assert r.valid is not None
    for b, image in enumerate(images):
        want = prumerge.prumerge(image.x, image.keys, image.a, k=8)
        torch.testing.assert_close(tokens[b][r.valid[b]], want.tokens, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("layer", [0, 1, -2, -1])
def test_any_layer_of_the_tower(model: Any, layer: int) -> None:
    got = lab.answer(model, PruMerge(k=3, layer=layer, select="topk", keep=5), lab.batch(), 1)
    tower = model.model.vision_tower.encoder.layers
    for b in range(2):
        x = oracle.vit(
            model, oracle.patches(model, lab.batch()["pixel_values"][b : b + 1]), 0, layer % len(tower)
        )
        attention, normed = tower[layer].self_attn, tower[layer].layer_norm1(x)
        a = class_attention.class_attention_released(attention.q_proj(normed)[0], attention.k_proj(normed))
        assert got.trace.kept["features"][b] == [*prumerge.select_topk(a, 5), -1]
