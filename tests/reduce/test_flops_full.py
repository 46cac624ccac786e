"""A reducer's own arithmetic at LLaVA-1.5's shape: torch's count of one reduction, and the figures of the papers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from prunegrid.reduce import Host, Place, PromptText, Reducer, Site, TokenView
from prunegrid.reduce.flops import Seen, transformer
from prunegrid.reduce.methods.ats import ATS
from prunegrid.reduce.methods.c_abstractor import CAbstractor
from prunegrid.reduce.methods.crossget import CrossGET
from prunegrid.reduce.methods.divprune import DivPrune
from prunegrid.reduce.methods.evit import EViT
from prunegrid.reduce.methods.fastv import FastV
from prunegrid.reduce.methods.ivtp import IVTP
from prunegrid.reduce.methods.prumerge import PruMerge
from prunegrid.reduce.methods.qwen_resampler import QwenResampler
from prunegrid.reduce.methods.received import Received
from prunegrid.reduce.methods.spatial_pool import SpatialPool
from prunegrid.reduce.methods.tome import ToMe
from prunegrid.reduce.methods.topk_cls import TopKCls
from prunegrid.reduce.methods.visionzip import VisionZip
from prunegrid.reduce.methods.vispruner import VisPruner
from prunegrid.reduce.ops import apply
from prunegrid.reduce.probe import Record, cls_rows
from prunegrid.shape import llava15_7b

FULL = llava15_7b()
PATCHES, TEXT = FULL.vision.patches, 60


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seen(**known: Any) -> Seen:
    """Full tokens, but for what is `known`."""
    plain = Seen(
        vision=[PATCHES + 1] * 24, mlp=[PATCHES + 1] * 24, projector=PATCHES,
        prompt=[PATCHES + TEXT] * 32, visual=[PATCHES] * 32, cache=[PATCHES + TEXT] * 32,
        held=[PATCHES + TEXT] * 32,
    )  # fmt: skip
    return replace(plain, **known)


def at_layer(layer: int, count: int) -> dict[str, Any]:
    """`count` patches from the middle of a ViT layer on."""
    after = count + 1
    return {
        "vision": [PATCHES + 1] * (layer + 1) + [after] * (23 - layer),
        "mlp": [PATCHES + 1] * layer + [after] * (24 - layer),
    }


def record(tokens: int, width: int, heads: int) -> Record:
    query, key, value = torch.randn(3, 1, heads, tokens, width // heads).unbind()
    return Record(query, key, value, None, None, (width // heads) ** -0.5, width > 1024)


def view(site: Site, width: int) -> TokenView:
    """One picture, all patches, at a site."""
    inside = site.place == Place.PROMPT
    layers: Sequence[int] = site.probe.layers if site.probe else ()
    shift, heads = (35, 32) if inside else (1, 16)
    records = {k: record(PATCHES + (TEXT if inside else 1), width, heads) for k in layers}
    columns = (torch.arange(PATCHES) + shift)[None]
    yes, place = torch.ones(1, PATCHES, dtype=torch.bool), torch.arange(PATCHES)[None]
    picked: dict[int, Tensor] = {k: r.key[:, :, shift : shift + PATCHES] for k, r in records.items()}
    return TokenView(
        tokens=torch.randn(1, PATCHES, width), valid=yes, visual=yes, index=place, position=place,
        size=torch.ones(1, PATCHES), prefix=torch.randn(1, 0 if width > 1024 else 1, width), ids=["a"],
        layer=site.layer, full=True, keys=picked, values=picked, records=records,
        columns=dict.fromkeys(records, columns),
        attended={k: cls_rows(r) for k, r in records.items()} if site.probe and site.probe.queries else {},
    )  # fmt: skip


CASES: dict[str, tuple[Reducer, dict[str, Any]]] = {
    "topk_cls": (TopKCls(), {}),
    "received": (Received(), {}),
    "prumerge": (PruMerge(select="topk", keep=40, layer=-2), {"projector": 41}),
    "prumerge_half": (
        PruMerge(select="topk", keep=40, layer=-2, official_dtype=True),
        {"projector": 41},
    ),
    "visionzip": (VisionZip(), {}),
    "vispruner": (VisPruner(), {}),
    "spatial_pool": (SpatialPool(), {}),
    "divprune": (DivPrune(), {}),
    "evit": (EViT(layers=(12,), keep=300), at_layer(12, 300)),
    "ats": (ATS(layers=(12,), select="top"), at_layer(12, 64)),
    "tome": (ToMe(variant="haurum", layers=(12,), keep=300), at_layer(12, 300)),
    "ivtp": (IVTP(stages="first", group="all", peek=False), {}),
    "fastv": (FastV(), {}),
    "fastv_paper": (FastV(variant="paper"), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_torch_counts_one_reduction(name: str) -> None:
    """Equal: also where torch multiplies more than the method would need."""
    reducer, known = CASES[name]
    host = Host(FULL)
    (site,) = reducer.sites(FULL)
    width = FULL.llm.width if site.place in (Place.EMBEDS, Place.PROMPT) else FULL.vision.width
    state = reducer.start(host)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shown = view(site, width)
        reduction = reducer.reduce(site, shown, state)
        assert reduction is not None
        apply(reduction, shown.tokens, shown.prefix)
    said = reducer.flops(host, seen(**known))
    assert said is not None
    assert counter.get_total_flops() == said.products > 0


def test_torch_counts_a_layer_of_crossget() -> None:
    """Its other layers are left out: nothing goes there."""
    reducer, host = CrossGET(keep=564), Host(FULL)
    site = reducer.sites(FULL)[22]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shown = replace(view(site, 1024), layer=22)
        reduction = reducer.reduce(site, shown, host)
        assert reduction is not None
    said = reducer.flops(host, seen(**at_layer(22, 564)))
    rows = 22 * 2 * (PATCHES + 1) * 1024  # every layer shows its CLS row
    assert counter.get_total_flops() == said.products - rows


@pytest.mark.parametrize("reducer", [CAbstractor(untrained=True), QwenResampler(untrained=True)])
def test_torch_counts_a_learned_projector(reducer: CAbstractor | QwenResampler) -> None:
    """torch has no count for the CPU kernel of attention: 64 queries, 576 keys, both products."""
    module, features = reducer.module(FULL), torch.randn(1, PATCHES, 1024)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(features, lambda x: x, ())
    attention = 4 * 64 * PATCHES * 1024 if isinstance(reducer, QwenResampler) else 0
    said = reducer.flops(Host(FULL, module=module), seen(projector=64))
    assert counter.get_total_flops() + attention == said.products


def test_prumerge_is_what_its_parts_come_to() -> None:
    """METHODS 2.6, m = 40: keys of the last layer, which the features do not need, 1.21 GFLOP; query 2.1 MFLOP; its
    row 1.2 MFLOP; similarities 47 MFLOP. The merged tokens are sparse sums; all below 1.4 GFLOP, 0.4 % of the ViT."""
    host, counts = Host(FULL), seen(projector=41)
    said = PruMerge().flops(host, counts)
    keys, query, row, similar = 577 * 1024 * 1024, 1024 * 1024, 577 * 1024, 40 * 576 * 1024
    assert said.products == 2 * (keys + query + row + similar)
    assert said.products == pytest.approx(1.21e9 + 2.1e6 + 1.2e6 + 47e6, rel=0.002)
    assert said.total < 1.4e9
    without = PruMerge(merge=False).flops(host, seen(projector=40))
    assert without.products == 2 * (keys + query + row)


def test_one_window_of_the_text_tower_costs_what_ivtp_says() -> None:
    """0.0133 TFLOPs for 77 tokens (METHODS 5.5)."""
    layer = transformer(768, 3072, 12, 77, 77 * 77)
    assert 12 * layer.products == pytest.approx(0.0133e12, rel=0.005)


def test_ivtp_counts_its_ghost_and_the_layer_it_peeks_at() -> None:
    """The visual CLS instead of words, all in one look: a token of 12 layers is 12 of 32 of 2 x 6.5 G at least."""
    blind = IVTP(ott=False, te=False, rt=False)
    first = IVTP(stages="first", ott=False, te=False, rt=False)
    host, counts = Host(FULL), seen()
    both, vision = blind.flops(host, counts), first.flops(host, counts)
    assert both is not None and vision is not None
    pushes = 8 * (2 * 636**2 * 4096 + 2 * 636**2)  # two layers of each of the four groups
    token = 12 * (2 * 4096 * (4 * 4096 + 3 * 11008) + 6 * 637 * 4096) + 2 * (1024 * 4096 + 4096 * 4096)
    assert both.products - vision.products == pushes + token
    more = replace(first, peek=False).flops(host, counts)
    assert more is not None
    read = 2 * 1024 * 1024 * (1 + 577 + 577)  # query of the CLS, keys and values of all
    push = 2 * 577**2 * 1024 + 2 * 577**2
    assert vision.products - more.products == read + 2 * 577 * 1024 + push


def test_a_text_is_counted_by_what_is_read_of_it() -> None:
    text = PromptText("what is this? answer", ((0, 4),), (0, 13))
    assert IVTP().flops(Host(FULL), seen(text=text)) is None  # no CLIP to count by
