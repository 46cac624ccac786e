"""Token schedules: from words, from a trace, and what decoding sees."""

from typing import Any

import pytest

from prunegrid.cost import TokenSchedule, staircase
from prunegrid.shape import llava15_7b

from .small import SMALL

# Two samples with one image each; the second one pruned in the ViT (5 -> 3), at LLM layer 1 and in its cache.
TRACE: dict[str, Any] = {
    "vision": [[5, 5], [5, 3]],
    "projector": [4, 2],
    "prompt": [[10, 10], [8, 6]],
    "cache": [[12, 12], [8, 4]],
    "new_tokens": [3, 4],
}


def test_a_stated_schedule_runs_the_layers_that_llava_needs() -> None:
    schedule = TokenSchedule.stated(llava15_7b(), 636, new_tokens=2, batch=3)
    assert len(schedule.vision) == len(schedule.prompt) == 3
    assert schedule.vision[0] == (577,) * 23 and schedule.projector == (576,) * 3
    assert schedule.prompt[0] == (636,) * 32 and schedule.cache[0] == (637,) * 32
    with pytest.raises(ValueError, match="32 layers"):
        TokenSchedule.stated(llava15_7b(), [636] * 31)


def test_a_trace_is_read_as_it_is() -> None:
    schedule = TokenSchedule.from_trace(TRACE)
    assert schedule.vision == schedule.vision_mlp == ((5, 5), (5, 3))
    assert schedule.cache == ((12, 12), (8, 4)) and schedule.new_tokens == (3, 4)
    bare = TokenSchedule.from_trace({"vision": [], "projector": [], "prompt": [[9, 5]]})
    assert bare.cache == ((9, 5),) and bare.new_tokens == (1,)
    mid = TokenSchedule.from_trace({**TRACE, "vision_mlp": [[5, 4], [4, 3]]})
    assert mid.vision_mlp == ((5, 4), (4, 3))
    assert schedule.patches(SMALL) == 2 * 4, "all of both pictures, unless it is said"
    assert TokenSchedule.from_trace({**TRACE, "embedded": [4, 1]}).patches(SMALL) == 5


def test_decode_sees_the_prompt_and_what_was_generated() -> None:
    schedule = TokenSchedule.stated(SMALL, [10, 7], new_tokens=3)
    assert schedule.decode_keys(1) == {(11,): 1, (8,): 1}
    assert schedule.decode_keys(2) == {(12,): 1, (9,): 1}
    assert TokenSchedule.stated(SMALL, 10, new_tokens=3).decode_keys(2) == {(12,): 2}


def test_decode_sees_a_held_cache_and_itself() -> None:
    schedule = TokenSchedule.from_trace(TRACE)
    assert schedule.decode_keys(1) == {(11, 9): 1, (11, 5): 1}
    assert schedule.decode_keys(2) == {(12, 9): 1, (12, 5): 1}
    assert schedule.decode_keys(3) == {(9,): 1, (5,): 1}, "the first sample has ended"
    assert [schedule.running(step) for step in (1, 2, 3, 4)] == [2, 2, 1, 0]


def test_decode_sees_a_cache_that_was_cut_and_grows_again() -> None:
    cut = {"vision": [], "projector": [], "prompt": [[10, 10]], "held": [[10, 4]], "new_tokens": [4]}
    schedule = TokenSchedule.from_trace(cut)
    assert schedule.cache == ((13, 7),)
    assert [list(schedule.decode_keys(step)) for step in (1, 3)] == [[(11,), (5,)], [(13,), (7,)]]
    filling = TokenSchedule.from_trace({**cut, "cache": [[13, 5]]})
    assert [list(filling.decode_keys(step)) for step in (1, 3)] == [[(11,), (5,)], [(13,), (6,)]]


def test_batches_split_samples_with_their_images() -> None:
    two_frames = {
        **TRACE,
        "embedded": [4, 4, 4, 1],
        "vision": [[5, 5], [5, 4], [5, 3], [5, 2]],
        "projector": [4, 3, 2, 1],
    }
    first, second = TokenSchedule.from_trace(two_frames).batches(1)
    assert first.vision == ((5, 5), (5, 4)) and first.projector == (4, 3) and first.new_tokens == (3,)
    assert [first.patches(SMALL), second.patches(SMALL)] == [8, 5]
    assert second.vision == ((5, 3), (5, 2)) and second.prompt == ((8, 6),) and second.cache == ((8, 4),)
    assert [len(part.prompt) for part in TokenSchedule.stated(SMALL, 9, batch=5).batches(2)] == [2, 2, 1]
    with pytest.raises(ValueError, match="3 images do not divide"):
        TokenSchedule.from_trace({**TRACE, "vision": [[5, 5]] * 3, "projector": [4] * 3}).batches(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"new_tokens": [0, 1]}, "at least 1"),
        ({"cache": [[13, 12], [8, 4]]}, "longer than"),
        ({"cache": [[12, 12]]}, "1 and 2 caches"),
        ({"held": [[11, 10], [8, 6]]}, "longer than its prompt"),
        ({"held": [[10, 9], [8, 6]]}, "longer than the 3"),
        ({"projector": [4]}, "1 at the projector"),
        ({"embedded": [4]}, "1 embedded"),
        ({"vision": [[5, 5], [5]]}, "same number of layers"),
        ({"prompt": [[10, 10], [8]]}, "same number of layers"),
    ],
)
def test_impossible_traces_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenSchedule.from_trace({**TRACE, **change})


def test_staircase() -> None:
    assert staircase([9, 5, 2], [1, 3], 5) == [9, 5, 5, 2, 2]
    assert staircase([612, 324, 180, 108], [8, 16, 24], 32) == [612] * 8 + [324] * 8 + [180] * 8 + [108] * 8
    with pytest.raises(ValueError, match="rising"):
        staircase([9, 5, 2], [3, 1], 5)
