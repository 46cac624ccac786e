"""Equivalent tokens: the constant count that costs the same."""

import pytest

from prunegrid.cost import TokenSchedule, equivalent_tokens, flops, mean_tokens, staircase
from prunegrid.shape import llava15_7b

from .small import SMALL


@pytest.mark.parametrize("convention", ["exact", "llm_viewer", "ivtp", "macs"])
def test_a_constant_schedule_is_its_own_equivalent(convention: str) -> None:
    assert equivalent_tokens(llava15_7b(), [127] * 32, convention) == pytest.approx(127)


def test_by_hand_under_macs() -> None:
    """F(n) = (4 36 + 3 60) n + 2 6 n^2 = 324 n + 12 n^2: 8 and 2 tokens cost 4056, as two layers of n do."""
    n = equivalent_tokens(SMALL, [8, 2], "macs")
    assert 2 * (324 * n + 12 * n * n) == pytest.approx(324 * 10 + 12 * 68)
    assert n == pytest.approx(5.2, abs=0.3) and mean_tokens([8, 2]) == 5


def test_the_same_prefill_flops_as_the_schedule_it_stands_for() -> None:
    """PyramidDrop's staircase: its equivalent lies above its mean, because attention is quadratic."""
    shape = llava15_7b()
    prompt = staircase([616, 328, 184, 112], [8, 16, 24], 32)
    n = equivalent_tokens(shape, prompt, "macs")
    assert mean_tokens(prompt) == 310 < n < 320
    around = [flops(shape, TokenSchedule.stated(shape, k), "macs") for k in (int(n), int(n) + 1)]
    assert around[0] < flops(shape, TokenSchedule.stated(shape, prompt), "macs") < around[1]


def test_a_prompt_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match="32 layers"):
        equivalent_tokens(llava15_7b(), [64] * 40)
