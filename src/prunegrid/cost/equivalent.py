"""One number for a per-layer token schedule, so that methods pruning at different depths share an axis."""

from collections.abc import Sequence
from dataclasses import replace

from prunegrid.cost.count import count
from prunegrid.cost.schedule import TokenSchedule
from prunegrid.shape import ModelShape


def equivalent_tokens(shape: ModelShape, prompt: Sequence[int], convention: str = "exact") -> float:
    """The constant token count with the same LLM prefill FLOPs.

    prompt: [LLM layers] tokens entering each layer, visual and text together. The answer n (a real number)
    solves L F(n) = F(prompt[0]) + ... + F(prompt[L-1]), where F(n) = A n + Q n^2 is one decoder layer's FLOPs
    on n tokens under `convention`. The output layer is left out: it does not depend on the schedule. Subtract
    the text tokens for an equivalent number of visual tokens.
    """
    if len(prompt) != shape.llm.layers:
        raise ValueError(f"{len(prompt)} counts for {shape.llm.layers} layers")
    one, two = (_layer_flops(shape, n, convention) for n in (1, 2))
    quadratic = (two - 2 * one) / 2
    linear = one - quadratic
    mean = sum(linear * n + quadratic * n * n for n in prompt) / len(prompt)
    # The stable form of the positive root of quadratic n^2 + linear n = mean.
    return 2 * mean / (linear + (linear * linear + 4 * quadratic * mean) ** 0.5)


def mean_tokens(prompt: Sequence[int]) -> float:
    """The plain mean over layers, which FastV, SparseVLM and PyramidDrop call their token number."""
    return sum(prompt) / len(prompt)


def _layer_flops(shape: ModelShape, tokens: int, convention: str) -> float:
    single = replace(shape, llm=replace(shape.llm, layers=1))
    schedule = TokenSchedule.from_trace({"vision": [], "projector": [], "prompt": [[tokens]]})
    operators = count(single, schedule, convention)
    return sum(op.flops * op.times for op in operators if op.stage == "prefill" and op.name != "lm_head")
