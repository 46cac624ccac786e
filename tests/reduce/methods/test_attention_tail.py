"""The noted attention is the sorted row that eager attention gives; what is kept is what top-k keeps."""

from __future__ import annotations

import itertools
import json

import pytest
import torch

from prunegrid.reduce.methods.attention_tail import AttentionTail, ranks
from prunegrid.reduce.methods.topk_cls import TopKCls
from reduce import lab


@pytest.mark.parametrize("count", [1, 2, 3, 4, 144, 576])
def test_ranks_begin_at_one_double_and_end_at_the_last(count: int) -> None:
    found = ranks(count)
    assert found[0] == 1 and found[-1] == count
    assert list(found) == sorted(set(found))
    assert all(after <= 2 * before for before, after in itertools.pairwise(found))


def test_notes_are_the_sorted_eager_row_and_the_choice_is_that_of_top_k() -> None:
    model, inputs = lab.tiny(), lab.batch()
    _, trace = lab.host(model, AttentionTail(keep=5, layer=-2)).generate(
        inputs, max_new_tokens=1, do_sample=False
    )
    _, plain = lab.host(model, TopKCls(keep=5, layer=-2)).generate(inputs, max_new_tokens=1, do_sample=False)
    assert trace.kept == plain.kept
    vision = model.model.vision_tower
    vision.set_attn_implementation("eager")
    with torch.no_grad():
        rows = vision(inputs["pixel_values"], output_attentions=True).attentions[-2][:, :, 0, 1:].mean(1)
    for b, row in enumerate(rows.tolist()):
        falling = sorted(row, reverse=True)
        wanted = {f"attention rank {r}": falling[r - 1] for r in (1, 2, 4, 8, 16)}
        assert trace.notes[b] == pytest.approx(wanted, abs=1e-6)
    json.dumps(trace.notes)
