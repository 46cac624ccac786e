"""Every reducer found in conf/reducer states its own arithmetic, and torch counts the same.

What torch counts in a whole call, less what `prunegrid.cost` counts for the model on the tokens of the trace, is what
the reducer multiplied itself: to the last operation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cost.small import LINEAR
from prunegrid.cost import TokenSchedule, count, exact
from prunegrid.reduce import Reducer, flops
from prunegrid.reduce.flops import Seen, class_token
from prunegrid.reduce.methods.h2o import H2O
from prunegrid.reduce.methods.vtip import VTIP
from prunegrid.shape import ModelShape
from reduce import clip, lab
from test_contract import DEPTH, REDUCERS, made, model_of, tiny_shape

UNREAD = f"CLIPVisionModel.encoder.layers.{DEPTH - 1}"  # the ViT layer behind the features


def cpu_attention(query: Any, key: Any, *_args: Any, **_options: Any) -> int:
    """torch has no count for its CPU kernel: both products in full, masked or not."""
    batch, heads, queries, width = query
    return 4 * batch * heads * queries * int(key[2]) * width


COUNTED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: cpu_attention}


def counter() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping=COUNTED)


def built(name: str) -> Reducer:
    """As in conf/, but nothing is read of the ViT layer that the features do not need: the model runs it anyway, so
    that torch could not tell. Every word speaks of the picture."""
    reducer = made(name, model_of(tiny_shape()))
    if name.startswith("prumerge"):
        return replace(reducer, layer=-2)
    return replace(reducer, peek=False, tau=-1.0) if name == "ivtp" else reducer


def modelled(shape: ModelShape, row: Mapping[str, Any], new: int) -> float:
    """Products of the model itself, without the causal saving, on the tokens of a trace."""
    needed = shape.vision.selected
    schedule = TokenSchedule.from_trace(
        {"embedded": [row["embedded"]], "vision": [row["vision"][:needed]],
         "vision_mlp": [(row.get("vision_mlp") or row["vision"])[:needed]],
         "projector": [row["projector"]], "prompt": [row["prompt"]], "cache": [row["cache"]], "new_tokens": [new],
         "held": [row.get("held") or row["prompt"]]}
    )  # fmt: skip
    total = 0.0
    for op in count(shape, schedule, "exact"):
        biased = op.stage in ("vision", "projector") and op.name != "patch_embed"
        if op.name in LINEAR:
            total += (op.flops - (op.store / 2 if biased else 0)) * op.times
    seen = Seen.of(row)
    steps = sum(seen.keys(i, s) for i in range(shape.llm.layers) for s in range(1, new))
    looked = sum(n * n for n in row["prompt"]) + steps
    return (
        total
        + 4 * shape.vision.width * sum(n * n for n in row["vision"][:needed])
        + 4 * shape.llm.heads * shape.llm.head_dim * looked
    )


def multiplied(model: Any, reducer: Reducer, new: int) -> tuple[float, flops.Flops]:
    """What torch counted beyond the model, and what the reducer says."""
    inputs = lab.one(lab.batch((7, 7), before=(3, 3)), 0)
    asked, host = clip.told(inputs, lab.IMAGE), lab.host(model, reducer)
    with counter() as counting:
        _, trace = host.generate(inputs, ids=["a"], prompt=asked, max_new_tokens=new, do_sample=False)
    found, row = counting.get_flop_counts(), trace.sample(0)
    said = host.flops(row, asked[0])
    assert said is not None
    unread = sum(found[UNREAD].values())
    torchs = counting.get_total_flops() - unread - modelled(host.host.shape, row, new)
    if reducer.reads_text and hasattr(reducer, "peek"):  # the class token's way through that same layer
        said += class_token(host.host.shape.vision, Seen.of(row)) * -1
    return torchs, said


@pytest.mark.parametrize("name", REDUCERS)
def test_torch_counts_what_a_reducer_says(name: str, model: Any) -> None:
    found, said = multiplied(model, built(name), new=1)
    assert found == said.products
    assert min(said.products, said.pointwise) >= 0 and math.isfinite(said.total)


@pytest.mark.parametrize("name", ["h2o", "vtip"])
def test_torch_counts_it_while_the_cache_is_held(name: str, model: Any) -> None:
    found, said = multiplied(model, built(name), new=4)
    assert found == said.products


def test_torch_counts_it_while_a_cache_that_was_cut_grows_again(model: Any) -> None:
    found, said = multiplied(model, H2O(heavy=3, recent=2, scope="visual"), new=6)
    assert found == said.products


@pytest.mark.parametrize("new", [1, 4])
@pytest.mark.parametrize(
    ("prefill", "heavy", "scope"),
    [("cache", 6, "all"), ("tokens", 6, "all"), ("tokens", 60, "all"), ("tokens", 6, "visual")],
)
def test_torch_counts_what_vtip_does_to_a_prompt(
    prefill: Any, heavy: int, scope: Any, new: int, model: Any
) -> None:
    reducer = VTIP("second", heavy=heavy, recent=5, scope=scope, prefill=prefill)
    found, said = multiplied(model, reducer, new)
    assert found == said.products


@pytest.mark.parametrize("name", ["ivtp", "cdpruner", "llama_vid"])
def test_what_reads_is_not_counted_without_its_text(name: str, model: Any) -> None:
    inputs = lab.one(lab.batch(), 0)
    host = lab.host(model, built(name))
    _, trace = host.generate(inputs, ids=["a"], prompt=clip.told(inputs, lab.IMAGE), max_new_tokens=1)
    assert host.flops(trace.sample(0)) is None
    assert host.flops(trace.sample(0), clip.told(inputs, lab.IMAGE)[0]) is not None


def test_a_method_that_says_nothing_is_not_counted(model: Any) -> None:
    silent = lab.plan((lab.at(lab.Place.FEATURES), lab.fixed(0, 1)))
    trace = lab.answer(model, silent, lab.even()).trace
    assert lab.host(model, silent).flops(trace.sample(0)) is None


def test_elements_count_as_the_model_counts_them() -> None:
    for name in ("SOFTMAX", "LAYER_NORM", "RMS_NORM", "ROPE"):
        assert getattr(flops, name) == getattr(exact, name)
    assert flops.ACTIVATION == exact.GELU == exact.GATED
