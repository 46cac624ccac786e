"""The cost of a whole trace against the costs of its batches."""

from typing import Any

import pytest

from prunegrid.cost import Hardware, TokenSchedule, cost, cost_of_trace, equivalent_tokens

from .small import SMALL

TOY = Hardware("toy", bandwidth=10.0, memory=1e3, peak={"fp16": 100.0})
# Three samples, the first and the last alike.
TRACE: dict[str, Any] = {
    "vision": [[5], [3], [5]],
    "projector": [4, 2, 4],
    "prompt": [[9, 7], [6, 6], [9, 7]],
    "new_tokens": [2, 1, 2],
}


def one(index: int) -> TokenSchedule:
    return TokenSchedule.from_trace({name: [rows[index]] for name, rows in TRACE.items()})


def test_batch_one_is_the_mean_of_the_samples() -> None:
    found = cost_of_trace(SMALL, TRACE, TOY, reducer_flops=50.0)
    costs = [cost(SMALL, one(index), TOY, reducer_flops=50.0) for index in range(3)]
    for quantity in ("flops", "moved", "store_kv"):
        expected = sum(each.total(quantity) for each in costs) / 3
        assert found["total"][quantity] == pytest.approx(expected)
    assert found["total"]["seconds"] == pytest.approx(sum(each.seconds() for each in costs) / 3)
    assert found["stages"]["decode"]["flops"] == pytest.approx(2 * costs[0].total("flops", "decode") / 3)
    assert found["stages"]["reducer"]["flops"] == 50
    assert (found["samples"], found["prompt_tokens"], found["mean_tokens"]) == (3, 8, pytest.approx(22 / 3))
    equivalent = (2 * equivalent_tokens(SMALL, [9, 7]) + 6) / 3
    assert found["equivalent_tokens"] == pytest.approx(equivalent)


def test_larger_batches_share_the_weights() -> None:
    single, pair = (cost_of_trace(SMALL, TRACE, TOY, batch_size=n, reducer_flops=50.0) for n in (1, 2))
    assert pair["stages"]["prefill"]["weights"] == pytest.approx(
        single["stages"]["prefill"]["weights"] * 2 / 3
    )
    assert pair["total"]["flops"] == pytest.approx(single["total"]["flops"])
    assert pair["total"]["seconds"] < single["total"]["seconds"]


def test_an_empty_trace_is_refused() -> None:
    with pytest.raises(ValueError, match="without samples"):
        cost_of_trace(SMALL, {"vision": [], "projector": [], "prompt": []}, TOY)
