"""The cost of a whole evaluation: a trace of many samples, run in batches, to figures per sample."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from prunegrid.cost.count import cost
from prunegrid.cost.equivalent import equivalent_tokens, mean_tokens
from prunegrid.cost.roofline import Hardware
from prunegrid.cost.schedule import TokenSchedule
from prunegrid.shape import ModelShape


def cost_of_trace(
    shape: ModelShape,
    trace: Mapping[str, Any],
    hardware: Hardware,
    *,
    bits: int = 16,
    convention: str = "exact",
    batch_size: int = 1,
    reducer_flops: float = 0.0,
) -> dict[str, Any]:
    """Mean cost per sample, as plain numbers for cost.json.

    trace: see TokenSchedule.from_trace; samples run in order, `batch_size` at a time. reducer_flops: per
    sample. `stages` holds operations, bytes and roofline seconds by stage, `total` their sum; the token
    numbers are means over samples. Raises ValueError for an empty trace, and as `cost`.
    """
    whole = TokenSchedule.from_trace(trace)
    samples = len(whole.prompt)
    if not samples:
        raise ValueError("a trace without samples has no cost")
    sums: dict[str, Counter[str]] = {}
    for schedule, times in Counter(whole.batches(batch_size)).items():
        own = reducer_flops * len(schedule.prompt)
        for stage, totals in cost(shape, schedule, hardware, bits, convention, own).by_stage().items():
            figures = {name: value * times for name, value in totals.items()}
            sums.setdefault(stage, Counter()).update(figures)
    per_sample = {stage: {name: value / samples for name, value in sums[stage].items()} for stage in sums}
    total: Counter[str] = Counter()
    for figures in per_sample.values():
        total.update(figures)
    return {
        "convention": convention,
        "hardware": hardware.name,
        "bits": bits,
        "batch_size": batch_size,
        "samples": samples,
        **_token_numbers(shape, Counter(whole.prompt), convention),
        "total": dict(total),
        "stages": per_sample,
    }


def _token_numbers(shape: ModelShape, prompts: Counter[tuple[int, ...]], convention: str) -> dict[str, float]:
    """prompts: {tokens entering each LLM layer: samples}.

    `prompt_tokens` enter the first layer, `mean_tokens` is over layers, `equivalent_tokens` by prefill
    operations.
    """

    def mean(number: Callable[[tuple[int, ...]], float]) -> float:
        return sum(number(row) * times for row, times in prompts.items()) / prompts.total()

    return {
        "prompt_tokens": mean(lambda row: row[0]),
        "mean_tokens": mean(mean_tokens),
        "equivalent_tokens": mean(lambda row: equivalent_tokens(shape, row, convention)),
    }
