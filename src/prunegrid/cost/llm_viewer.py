"""The counts of LLM-Viewer (arXiv:2402.16363, code at 472f71f), behind PruMerge Table 2 and VTIP Table 6.

It sees the language model only: no vision tower, no projector, no reducer. Kept as it is, quirks included: no
causal saving; the activation counted on the model's width instead of the MLP's; one operation per
multiply-accumulate in the output layer, for one token; every score matrix written to memory and read back.

In the code: h model width, f MLP width, groups = kv heads x head width; w, a, kv bytes per stored number.
"""

from collections.abc import Iterator
from dataclasses import replace

from prunegrid.cost.operators import Bits, Load, Operator, distinct
from prunegrid.cost.schedule import TokenSchedule
from prunegrid.shape import LLMShape, ModelShape


def count(shape: ModelShape, schedule: TokenSchedule, bits: Bits) -> Iterator[Operator]:
    """Prefill and decode as the code at 472f71f (2024-07-30) counts them."""
    return _passes(shape.llm, schedule, bits, old=False)


def count_old(shape: ModelShape, schedule: TokenSchedule, bits: Bits) -> Iterator[Operator]:
    """As before 2024-03-19: the output layer's weights took one byte each whatever the bits.

    Queries were not loaded either, but keys twice (until 2024-04-15): the same total where all bits are
    equal.
    """
    return _passes(shape.llm, schedule, bits, old=True)


def _passes(llm: LLMShape, schedule: TokenSchedule, bits: Bits, old: bool) -> Iterator[Operator]:
    rows = len(schedule.prompt)
    for counts, layers in distinct(schedule.prompt).items():
        for operator in _layer(llm, Load.full(counts), bits, old):
            yield replace(operator, times=layers)
    yield _head(llm, rows, bits, old)
    for step in range(1, max(schedule.new_tokens, default=1)):
        for lengths, layers in schedule.decode_keys(step).items():
            for operator in _layer(llm, Load.step(lengths), bits, old):
                yield replace(operator, stage="decode", times=layers)
        yield replace(_head(llm, schedule.running(step), bits, old), stage="decode")


def _layer(llm: LLMShape, load: Load, bits: Bits, old: bool) -> Iterator[Operator]:
    w, a, kv = bits.weights / 8, bits.activations / 8, bits.kv / 8
    h, f, groups = llm.width, llm.ffn, llm.kv_heads * llm.head_dim
    tokens, pairs = load.tokens, load.pairs

    def linear(name: str, inputs: int, outputs: int, cached: bool = False) -> Operator:
        return Operator(
            "prefill",
            name,
            2 * inputs * outputs * tokens,
            weights=inputs * outputs * w,
            load=inputs * tokens * a,
            store=0 if cached else outputs * tokens * a,
            store_kv=outputs * tokens * kv if cached else 0,
        )

    def pointwise(name: str, operations: int, read: int = 1) -> Operator:
        size = h * tokens
        return Operator("prefill", name, operations * size, load=read * size * a, store=size * a)

    scores, read_kv = pairs * llm.heads * a, load.keys * groups * kv
    yield linear("q", h, llm.heads * llm.head_dim)
    yield linear("k", h, groups, cached=True)
    yield linear("v", h, groups, cached=True)
    yield linear("out", llm.heads * llm.head_dim, h)
    yield linear("gate", h, f)
    yield linear("up", h, f)
    yield linear("down", f, h)
    attended = 2 * pairs * llm.heads * llm.head_dim
    queries = 0 if old else tokens * h * a
    keys = 2 * read_kv if old else read_kv
    yield Operator("prefill", "qk", attended, load=queries, store=scores, load_kv=keys)
    yield Operator("prefill", "sv", attended, load=scores, store=tokens * h * a, load_kv=read_kv)
    yield Operator("prefill", "softmax", 5 * pairs * llm.heads, load=scores, store=scores)
    yield pointwise("attn_norm", 7)
    yield pointwise("mlp_norm", 7)
    yield pointwise("attn_add", 1)
    yield pointwise("mlp_add", 1)
    yield pointwise("mlp_act", 2, read=2)


def _head(llm: LLMShape, rows: int, bits: Bits, old: bool) -> Operator:
    """The output layer for one token per sequence; its activations are not multiplied by the batch."""
    size = llm.width * llm.vocab
    return Operator(
        "prefill",
        "lm_head",
        size * rows,
        weights=size * (1 if old else bits.weights / 8),
        load=llm.width * bits.activations / 8,
        store=llm.vocab * bits.activations / 8,
    )
