"""Each counting convention against figures worked out by hand on a small model."""

from dataclasses import replace

import pytest

from prunegrid.cost import CONVENTIONS, Bits, Operator, TokenSchedule, count, flops
from prunegrid.cost.operators import Load
from prunegrid.shape import ProjectorShape

from .small import SMALL


def by_name(operators: list[Operator], stage: str) -> dict[str, Operator]:
    """The operators of a stage; there must be one of each name."""
    found = {op.name: op for op in operators if op.stage == stage}
    assert len(found) == sum(op.stage == stage for op in operators)
    return found


def test_load() -> None:
    assert Load.full([3, 2]) == Load(tokens=5, keys=5, pairs=9 + 4)
    assert Load.causal([3, 2]) == Load(tokens=5, keys=5, pairs=6 + 3)
    assert Load.step([11, 5]) == Load(tokens=2, keys=16, pairs=16)


def test_llm_viewer_prefill_by_hand() -> None:
    """5 tokens, FP16: h = 6, f = 10, a = 3 heads of 2, one kv head, V = 7."""
    ops = by_name(count(SMALL, TokenSchedule.stated(SMALL, 5), "llm_viewer"), "prefill")
    assert {op.times for name, op in ops.items() if name != "lm_head"} == {2}
    q, k, qk, sv = ops["q"], ops["k"], ops["qk"], ops["sv"]
    assert (q.flops, q.weights, q.load, q.store, q.store_kv) == (2 * 6 * 6 * 5, 72, 60, 60, 0)
    assert (k.flops, k.weights, k.load, k.store, k.store_kv) == (2 * 6 * 2 * 5, 24, 60, 0, 20)
    assert (ops["down"].load, ops["down"].store) == (100, 60)
    assert (qk.flops, qk.load, qk.store, qk.load_kv) == (2 * 25 * 6, 60, 25 * 3 * 2, 20)
    assert (sv.flops, sv.load, sv.store, sv.load_kv) == (2 * 25 * 6, 25 * 3 * 2, 60, 20)
    assert (ops["softmax"].flops, ops["softmax"].moved) == (5 * 25 * 3, 2 * 25 * 3 * 2)
    assert (ops["attn_norm"].flops, ops["mlp_add"].flops) == (7 * 30, 30)
    act, head = ops["mlp_act"], ops["lm_head"]
    assert (act.flops, act.load, act.store) == (60, 120, 60), "on the model's width, not the MLP's"
    assert (head.flops, head.weights, head.load, head.store, head.times) == (42, 84, 12, 14, 1)


def test_llm_viewer_counts_neither_vision_nor_projector_and_shares_weights() -> None:
    one = count(SMALL, TokenSchedule.stated(SMALL, 5), "llm_viewer")
    assert {op.stage for op in one} == {"prefill"}
    two = by_name(count(SMALL, TokenSchedule.stated(SMALL, 5, batch=2), "llm_viewer"), "prefill")
    q = by_name(one, "prefill")["q"]
    assert (two["q"].flops, two["q"].load, two["q"].weights) == (2 * q.flops, 2 * q.load, q.weights)
    assert two["lm_head"].flops == 84


def test_the_old_output_layer_loads_a_byte_per_weight() -> None:
    schedule = TokenSchedule.stated(SMALL, 5)
    new, old = (
        by_name(count(SMALL, schedule, name, Bits.of(4)), "prefill")
        for name in ("llm_viewer", "llm_viewer_old")
    )
    assert (new["lm_head"].weights, old["lm_head"].weights) == (21, 42)
    assert old["qk"].load == 0 and old["qk"].load_kv == 2 * new["qk"].load_kv
    assert all(new[name] == old[name] for name in new if name not in ("lm_head", "qk"))


def test_decode_steps_attend_to_the_cache() -> None:
    """Prompt 5, 3 new tokens: two steps, on 6 and 7 keys."""
    schedule = TokenSchedule.stated(SMALL, 5, new_tokens=3)
    for convention in ("llm_viewer", "exact"):
        steps = [op for op in count(SMALL, schedule, convention) if op.stage == "decode"]
        assert [op.flops for op in steps if op.name == "q"] == [2 * 6 * 6] * 2
        assert [op.store_kv for op in steps if op.name == "v"] == [4, 4]
        assert len([op for op in steps if op.name == "lm_head"]) == 2
    viewer = [op for op in count(SMALL, schedule, "llm_viewer") if op.stage == "decode"]
    assert [op.flops for op in viewer if op.name == "qk"] == [2 * 6 * 6, 2 * 7 * 6]
    exact = [op for op in count(SMALL, schedule, "exact") if op.stage == "decode"]
    attention = [op for op in exact if op.name == "attention"]
    assert [op.flops for op in attention] == [4 * 6 * 6 + 5 * 6 * 3, 4 * 7 * 6 + 5 * 7 * 3]
    assert [op.load_kv for op in attention] == [2 * 6 * 2 * 2, 2 * 7 * 2 * 2]


@pytest.mark.parametrize("convention", ["llm_viewer", "exact"])
def test_a_sample_that_has_ended_costs_no_more_steps(convention: str) -> None:
    prompts = {"prompt": [[5, 5], [4, 4]], "new_tokens": [2, 3]}
    schedule = TokenSchedule.from_trace({"vision": [], "projector": [], **prompts})
    heads = [op for op in count(SMALL, schedule, convention) if op.name == "lm_head" and op.stage == "decode"]
    assert heads[0].flops == 2 * heads[1].flops


def test_exact_traffic_of_fused_attention() -> None:
    """Queries, keys and values in, the mixture out; no scores. 5 tokens of width 4 in the ViT; FP16."""
    operators = count(SMALL, TokenSchedule.stated(SMALL, 7), "exact")
    vision = by_name(operators, "vision")["attention"]
    assert (vision.load, vision.store, vision.load_kv) == (3 * 5 * 4 * 2, 5 * 4 * 2, 0)
    keys = by_name(operators, "prefill")["k"]
    assert (keys.store, keys.store_kv) == (0, 7 * 2 * 2), "keys are written once, to the cache"
    prefill = by_name(operators, "prefill")["attention"]
    assert (prefill.load, prefill.store, prefill.load_kv) == (7 * 6 * 2, 7 * 6 * 2, 2 * 7 * 2 * 2)


def test_a_projector_fed_by_two_layers() -> None:
    shape = replace(SMALL, projector=ProjectorShape(8, 6))
    projector = by_name(count(shape, TokenSchedule.stated(shape, 7, projector=2), "exact"), "projector")
    assert (projector["linear_1"].flops, projector["linear_1"].weights) == ((2 * 8 + 1) * 6 * 2, 9 * 6 * 2)


def test_exact_by_hand() -> None:
    """Two tokens of five left after the first ViT layer, 2 at the projector, 7 then 5 in the LLM; FP16."""
    schedule = TokenSchedule.stated(SMALL, [7, 5], vision=[5, 2], projector=2)
    operators = count(SMALL, schedule, "exact")
    vision = [op for op in operators if op.stage == "vision"]
    assert [op.flops for op in vision if op.name == "patch_embed"] == [2 * 12 * 4 * 4]
    assert [op.flops for op in vision if op.name == "q"] == [(2 * 4 + 1) * 4 * 5, (2 * 4 + 1) * 4 * 2]
    assert [op.weights for op in vision if op.name == "fc1"] == [(4 + 1) * 8 * 2] * 2
    attention = [op for op in vision if op.name == "attention"]
    assert [op.flops for op in attention] == [4 * 25 * 4 + 5 * 25 * 2, 4 * 4 * 4 + 5 * 4 * 2]
    assert [op.flops for op in vision if op.name == "mlp_act"] == [5 * 8 * 5, 5 * 8 * 2]
    projector = by_name(operators, "projector")
    assert projector["linear_2"].flops == (2 * 6 + 1) * 6 * 2
    prefill = [op for op in operators if op.stage == "prefill"]
    causal = [op.flops for op in prefill if op.name == "attention"]
    assert causal == [4 * 28 * 6 + 5 * 28 * 3, 4 * 15 * 6 + 5 * 15 * 3]
    assert [op.flops for op in prefill if op.name == "k"] == [2 * 6 * 2 * 7, 2 * 6 * 2 * 5]
    assert [op.flops for op in prefill if op.name == "mlp_act"] == [5 * 10 * 7, 5 * 10 * 5]
    assert [op.flops for op in prefill if op.name == "rope"] == [3 * 8 * 7, 3 * 8 * 5]
    assert [op.flops for op in prefill if op.name == "lm_head"] == [2 * 6 * 7], "the last position only"


def test_a_method_inside_the_block_is_charged_its_shorter_mlp() -> None:
    trace = {"vision": [[5]], "vision_mlp": [[3]], "projector": [2], "prompt": [[4, 4]]}
    vision = by_name(count(SMALL, TokenSchedule.from_trace(trace), "exact"), "vision")
    assert (vision["out"].flops, vision["fc2"].flops) == ((2 * 4 + 1) * 4 * 5, (2 * 8 + 1) * 4 * 3)


def test_ivtp_by_hand() -> None:
    schedule = TokenSchedule.stated(SMALL, [7, 5], vision=[5, 2])
    layers = sum(2 * (4 * 36 + 3 * 60) * n + 4 * n * n * 6 for n in (7, 5))
    assert flops(SMALL, schedule, "ivtp", "prefill") == layers + 2 * 6 * 7 * 5
    tower = sum((8 * 16 + 4 * 32) * n + 4 * n * n * 4 for n in (5, 2))
    assert flops(SMALL, schedule, "ivtp", "vision") == tower + 2 * 12 * 4 * 4
    assert flops(SMALL, schedule, "ivtp", "projector") == 0


def test_macs_by_hand() -> None:
    schedule = TokenSchedule.stated(SMALL, [7, 5])
    shared = sum(4 * n * 36 + 2 * n * n * 6 for n in (7, 5))
    assert flops(SMALL, schedule, "macs") == shared + 3 * 12 * 60
    assert flops(SMALL, schedule, "macs_fastv") == shared + 2 * 12 * 60


def test_unknown_names_and_foreign_schedules_are_refused() -> None:
    schedule = TokenSchedule.stated(SMALL, 5)
    with pytest.raises(ValueError, match="did you mean 'exact'"):
        count(SMALL, schedule, "exat")
    assert "macs" in CONVENTIONS
    foreign = TokenSchedule.from_trace({"vision": [], "projector": [], "prompt": [[5, 5, 5]]})
    with pytest.raises(ValueError, match="2 LLM layers"):
        count(SMALL, foreign, "exact")
    with pytest.raises(ValueError, match="2 ViT layers"):
        count(SMALL, TokenSchedule.stated(SMALL, 5, vision=[5, 5, 5]), "exact")
