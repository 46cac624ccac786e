"""PruMerge's class attention as the released code has it in fp16: rounded at each step, ragged or not, in any model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_prumerge_parity import HEADS
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import TokenView
from prunegrid.reduce.methods.merging import Merging
from prunegrid.reduce.methods.prumerge import PruMerge
from prunegrid.reduce.methods.prumerge_plus import PruMergePlus
from reduce import lab, made, oracle
from reference import class_attention, inputs, prumerge

pytestmark = pytest.mark.usefixtures("no_grad")
Query = tuple[torch.Tensor, torch.Tensor]


def queries(images: list[inputs.Image]) -> list[Query]:
    return [inputs.query_and_keys(i.a, HEADS, 8, seed=n) for n, i in enumerate(images)]


def view(images: list[inputs.Image], asked: list[Query], layer: int) -> TokenView:
    """What the layer's attention saw, and the features."""
    samples = [made.Patches(torch.cat([q[:, None], k[:, 1:]], 1), k, torch.zeros_like(k)) for q, k in asked]
    seen = made.patch_view({layer: samples})
    most = seen.valid.shape[1]
    tokens = [torch.cat([i.x, i.x.new_full((most - len(i.x), i.x.shape[1]), 1e3)]) for i in images]
    return replace(seen, tokens=torch.stack(tokens), keys={layer: seen.records[layer].key[:, :, 1:]})


def half(query: Query) -> torch.Tensor:
    q, k = query
    return class_attention.class_attention_half(q.flatten(), k.transpose(0, 1).flatten(1))


@pytest.mark.parametrize("counts", [(144, 144), (144, 60, 101)], ids=str)
def test_every_step_is_rounded_as_the_loop_rounds_it(counts: tuple[int, ...]) -> None:
    """A sum that falls on the border between two numbers may fall on either side."""
    images = [inputs.image(n, 32, n // 12, seed=n + b) for b, n in enumerate(counts)]
    asked = queries(images)
    reducer = PruMerge(official_dtype=True)
    got = reducer.class_attention(view(images, asked, -1))
    exact = PruMerge().class_attention(view(images, asked, -1))
    for b, n in enumerate(counts):
        want = half(asked[b])
        assert torch.equal(got[b].half().float(), got[b])
        assert float((got[b, :n] == want).float().mean()) > 0.98
        torch.testing.assert_close(got[b, :n], want, rtol=0.01, atol=1e-6)
        assert not got[b, n:].any()
        assert float((exact[b, :n].half() == want.half()).float().mean()) < 0.7, "rounded once is not enough"


@pytest.mark.parametrize("reducer", [PruMerge(k=9), PruMergePlus(sampling="adaptive", k=9)], ids=["", "plus"])
def test_counts_are_those_of_fp16(reducer: Merging) -> None:
    """Many values lie near the fence. One count of twelve may differ, where a sum falls on a border."""
    samples = [made.patches(576, seed=n, sharp=1.2) for n in range(12)]
    images = [inputs.image(576, 32, 40, seed=n) for n in range(12)]
    asked = [(s.q[:, 0], s.k) for s in samples]
    shown = view(images, asked, -1)
    reducer = replace(reducer, official_dtype=True)
    counts = []
    for one in (reducer, replace(reducer, official_dtype=False)):
        r = one.reduce(one.sites(None)[0], shown, None)  # type: ignore[arg-type]
        assert r is not None
        counts.append([int(n) for n in r.note["selected"]])
    want = [len(prumerge.iqr_outliers(half(q))) for q in asked]
    got, exact = counts
    assert sum(a != b for a, b in zip(got, want, strict=True)) <= 1
    assert sum(a != b for a, b in zip(exact, want, strict=True)) >= 3, "fp16 changes nothing: shows nothing"


def test_padding_is_not_selected_where_fp16_leaves_nothing() -> None:
    """Real patches whose attention is 0 come before what is not there."""
    samples = [made.patches(n, HEADS, seed=n, sharp=4.0) for n in (144, 60)]
    asked = [(s.q[:, 0], s.k) for s in samples]
    images = [inputs.image(n, 32, n // 12, seed=n) for n in (144, 60)]
    shown = view(images, asked, -1)
    reducer = PruMerge(k=9, select="topk", keep=100, official_dtype=True, order="raster")
    assert int((reducer.class_attention(shown)[1, :60] == 0).sum()) > 20
    assert made.kept(reducer.reduce(reducer.sites(None)[0], shown, None))[1] == [*range(60), -1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_a_model_of_any_dtype(dtype: torch.dtype) -> None:
    model: LlavaForConditionalGeneration = lab.tiny().to(dtype)
    given = {k: v.to(dtype) if v.is_floating_point() else v for k, v in lab.batch().items()}
    reducer = PruMerge(k=3, select="topk", keep=5, official_dtype=True)
    got = lab.answer(model, reducer, given, 1)
    if dtype == torch.float32:
        for b in range(2):
            x = oracle.vit(model, oracle.patches(model, given["pixel_values"][b : b + 1]), 0, lab.LAYERS - 1)
            tower: Any = model.model.vision_tower.encoder.layers[-1]
            normed = tower.layer_norm1(x)
            attention = tower.self_attn
            a = class_attention.class_attention_half(attention.q_proj(normed)[0], attention.k_proj(normed))
            assert got.trace.kept["features"][b] == [*prumerge.select_topk(a, 5), -1]
    assert [v[0] for v in got.trace.visual] == [6, 6]


def test_it_is_of_the_released_attention_alone() -> None:
    with pytest.raises(
        ValueError, match="official_dtype is of the released attention, heads=joined, not split"
    ):
        PruMerge(variant="paper", official_dtype=True)
