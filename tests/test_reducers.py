"""What holds for every reducer found in conf/reducer: half precision, adapters, caches, refusals."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from prunegrid.reduce import Reducer
from prunegrid.reduce.ghost import Beside
from reduce import clip, lab
from test_contract import DEPTH, REDUCERS, made, model_of, tiny_shape

ADAPTIVE = {"prumerge", "ats", "vtip"}  # counts of their own for every picture


def run(model: Any, reducer: Reducer, inputs: lab.Inputs, new: int = 3) -> tuple[torch.Tensor, Any]:
    return lab.host(model, reducer).generate(
        inputs, ids=["a", "b"], prompt=clip.told(inputs, lab.IMAGE), max_new_tokens=new, do_sample=False
    )


@pytest.mark.parametrize("name", REDUCERS)
def test_half_precision_runs_and_keeps_as_many(name: str, model: Any) -> None:
    half = copy.deepcopy(model).bfloat16()
    inputs = {k: v.bfloat16() if v.is_floating_point() else v for k, v in lab.batch().items()}
    reducer = made(name, model_of(tiny_shape()))
    _, got = run(half, reducer, inputs)
    logits = (
        lab.host(half, reducer).forward(inputs, ids=["a", "b"], prompt=clip.told(inputs, lab.IMAGE))[0].logits
    )
    assert logits.dtype == torch.bfloat16 and bool(logits.isfinite().all())
    if name not in ADAPTIVE:
        _, want = run(model, reducer, lab.batch())
        assert (got.vision, got.projector, got.visual) == (want.vision, want.projector, want.visual)


@pytest.mark.parametrize("name", REDUCERS)
def test_adapters_change_no_choice(name: str, model: Any) -> None:
    """A LoRA that has learnt nothing yet, on both towers: the same indices, merges and answers."""
    adapters = LoraConfig(
        r=2, target_modules=["q_proj", "k_proj", "v_proj", "linear_1"], task_type="CAUSAL_LM"
    )
    wrapped = get_peft_model(copy.deepcopy(model), adapters)
    reducer, inputs = made(name, model_of(tiny_shape())), lab.batch()
    (tokens, trace), (plain, want) = run(wrapped, reducer, inputs), run(model, reducer, inputs)
    assert torch.equal(tokens, plain) and trace == want


class Cached(lab.LogitsProcessor):
    """Measures the cache at the last step: bytes by layer."""

    def __init__(self, model: Any) -> None:
        self.bytes: dict[int, int] = {}
        for i, layer in enumerate(model.model.language_model.layers):
            layer.self_attn.register_forward_hook(self._measure(i), with_kwargs=True)

    def _measure(self, i: int) -> Callable[..., None]:
        def hook(_module: Any, _args: Any, kwargs: dict[str, Any], _out: Any) -> None:
            if isinstance(kwargs["past_key_values"], Beside):
                return  # a token beside the prompt, which caches nothing
            slot = kwargs["past_key_values"].layers[i]
            self.bytes[i] = sum(t.untyped_storage().nbytes() for t in (slot.keys, slot.values))

        return hook


@pytest.mark.parametrize("name", REDUCERS)
def test_the_cache_is_as_short_in_bytes_as_the_trace_says(name: str, model: Any) -> None:
    measured = copy.deepcopy(model)
    meter = Cached(measured)  # after the session's hooks have acted, at the next step
    _, trace = run(measured, made(name, model_of(tiny_shape())), lab.even(), new=5)
    config = measured.config.text_config
    width = 2 * 2 * 4 * config.num_key_value_heads * config.hidden_size // config.num_attention_heads
    longest = [max(row[i] for row in trace.cache) for i in range(DEPTH)]
    for i in range(DEPTH):
        # The meter's hook runs before eviction of the step, so that one more token may be there.
        assert longest[i] * width <= meter.bytes[i] <= (longest[i] + 1) * width, f"layer {i}"
    if name in ("fastv", "pyramiddrop", "sparsevlm", "tome_plus"):
        assert meter.bytes[DEPTH - 1] < meter.bytes[0]


@pytest.mark.parametrize("name", [n for n in REDUCERS if n not in ("none", "blind")])
def test_a_budget_beyond_the_model_is_refused_with_what_there_is(name: str, model: Any) -> None:
    reducer, shape = made(name, model_of(tiny_shape())), tiny_shape()
    names = {f.name for f in fields(reducer)}
    budgets = [
        n for n in ("keep", "side", "out", "rows", "heavy") if n in names and numeric(getattr(reducer, n))
    ]
    for option in budgets:
        for value in (0, -1) if option == "heavy" else (0, -1, 10_000):
            with pytest.raises(ValueError, match=r"\d") as error:
                lab.host(model, bad(reducer, option, value)).host.shape.vision  # noqa: B018
                tuple(bad(reducer, option, value).sites(shape))
                run(model, bad(reducer, option, value), lab.batch())
            said = str(error.value)
            assert str(value) in said and re.search(
                r"at least|lie in|share in|more than|divide|positive|leave|\.\.", said
            ), said


def numeric(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def bad(reducer: Reducer, option: str, value: int) -> Reducer:
    extra = {"recent": 0} if option == "heavy" and value == 0 else {}
    return replace(reducer, **{option: value, **extra})
