"""A call leaves nothing behind, and calls do not see each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Place, Probe, ReducedVLM, Reducer, Reduction, Site, TokenView
from prunegrid.reduce import probe as probing

from .lab import EVERYWHERE, Inputs, Plan, answer, at, even, fixed, nothing, plan, tiny

Model = LlavaForConditionalGeneration
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def hooks(model: torch.nn.Module) -> int:
    return sum(len(getattr(m, kind)) for m in model.modules() for kind in HOOKS)


def state(model: Any) -> tuple[object, ...]:
    """All that a call may touch."""
    forwards = [name for name, m in model.named_modules() if "forward" in m.__dict__]
    parts = (model, model.model, model.model.vision_tower, model.model.language_model)
    return (
        hooks(model),
        forwards,
        [p.config._attn_implementation for p in parts],
        probing._open.get(),
        model.training,
    )


@pytest.fixture(autouse=True)
def untouched(model: Model) -> Iterator[None]:
    before = state(model)
    yield
    assert state(model) == before


class Stop(Exception):
    """Thrown by a test's reducer."""


# ---- the baseline --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("padded", [True, False])
def test_the_baseline_is_plain_generate_bit_by_bit(model: Model, inputs: Inputs, padded: bool) -> None:
    batch = inputs if padded else even()
    options: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False}
    whole: Any = model
    plain = whole.generate(**batch, output_logits=True, return_dict_in_generate=True, **options)
    got = answer(model, Reducer(), batch, new=6)
    assert torch.equal(got.tokens, plain.sequences[:, batch["input_ids"].shape[1] :])
    assert torch.equal(got.logits, torch.stack(plain.logits, 1))


def test_the_baseline_adds_no_site_and_no_hook(model: Model, inputs: Inputs) -> None:
    before, during = hooks(model), []

    def count(*_: Any) -> None:
        during.append(hooks(model))

    towers = (model.model.vision_tower, model.model.language_model)
    handles = [tower.register_forward_hook(count) for tower in towers]
    try:
        answer(model, Reducer(), inputs)
        assert Reducer().sites(ReducedVLM(model, Reducer()).host.shape) == ()
        assert set(during) == {before + 2}
        during.clear()
        answer(model, plan((at(Place.FEATURES), fixed(0))), inputs)
        assert during[0] > before + 2, "the count would not see a hook"
    finally:
        for handle in handles:
            handle.remove()


def test_doing_nothing_at_every_place_changes_no_token(model: Model, inputs: Inputs) -> None:
    silent = plan(*((site, nothing) for site, _ in EVERYWHERE))
    full, got = answer(model, Reducer(), inputs), answer(model, silent, inputs)
    assert len(silent.seen) == 6 + 4
    assert torch.equal(full.tokens, got.tokens)
    assert torch.equal(full.logits, got.logits)


# ---- what stays ----------------------------------------------------------------------------------------------
def test_a_call_with_every_place_leaves_nothing_behind(model: Model, inputs: Inputs) -> None:
    before, weights = state(model), {k: v.clone() for k, v in model.state_dict().items()}
    first = answer(model, plan(*EVERYWHERE), inputs)
    assert state(model) == before
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    again = answer(model, plan(*EVERYWHERE), inputs)
    assert torch.equal(first.logits, again.logits)


@pytest.mark.parametrize("failing", range(len(EVERYWHERE)))
def test_an_exception_in_reduce_leaves_nothing_behind(model: Model, inputs: Inputs, failing: int) -> None:
    def stop(view: TokenView) -> Reduction:
        raise Stop

    before = state(model)
    steps = [(site, stop if i == failing else act) for i, (site, act) in enumerate(EVERYWHERE)]
    with pytest.raises(Stop):
        answer(model, plan(*steps), inputs)
    assert state(model) == before


@pytest.mark.parametrize("step", [0, 2])
def test_an_exception_in_generate_leaves_nothing_behind(model: Model, inputs: Inputs, step: int) -> None:
    def stop(ids: Tensor, scores: Tensor) -> Tensor:
        if ids.shape[1] == start + step:
            raise Stop
        return scores

    start = int(inputs["input_ids"].shape[1]) - 16 + 4
    before = state(model)
    with pytest.raises(Stop):
        ReducedVLM(model, plan(*EVERYWHERE)).generate(
            inputs, ids=("0", "1"), max_new_tokens=4, do_sample=False, logits_processor=[stop]
        )
    assert state(model) == before


def test_an_exception_while_opening_leaves_nothing_behind(model: Model, inputs: Inputs) -> None:
    bad = plan((at(Place.VISION, 0, mid=True), fixed(0)), (Site(Place.PROMPT, 9), fixed(0)))
    with pytest.raises(ValueError, match="LLM layer 9 does not exist"):
        answer(model, bad, inputs)
    answer(model, plan((at(Place.VISION, 0), fixed(0))), inputs)


def test_the_attention_of_the_model_comes_back(inputs: Inputs) -> None:
    model = tiny()
    model.model.vision_tower.set_attn_implementation("eager")
    used: list[str] = []

    def look(view: TokenView) -> None:
        used.extend(
            p.config._attn_implementation for p in (model.model.vision_tower, model.model.language_model)
        )

    answer(model, plan((at(Place.FEATURES), look)), inputs)
    assert used == [probing.PROBED] * 2
    assert model.model.vision_tower.config._attn_implementation == "eager"
    assert model.model.language_model.config._attn_implementation == "sdpa"


def test_a_forward_that_was_replaced_before_comes_back(inputs: Inputs) -> None:
    """As libraries do that wrap single modules."""
    model = tiny()
    layer = model.model.vision_tower.encoder.layers[1]
    own = layer.forward
    layer.__dict__["forward"] = wrapped = lambda *args, **kwargs: own(*args, **kwargs)
    answer(model, plan((at(Place.VISION, 1, mid=True), fixed(0, 1))), inputs)
    assert layer.__dict__["forward"] is wrapped


# ---- several calls -------------------------------------------------------------------------------------------
def watcher() -> Plan:
    return plan((Site(Place.FEATURES, probe=Probe((1,), keys=True)), nothing))


def test_a_call_inside_a_call_needs_another_model(model: Model, inputs: Inputs) -> None:
    other, inner = tiny(seed=1), watcher()
    with torch.no_grad():
        other(**inputs, output_hidden_states=True)
    alone = watcher()
    answer(other, alone, inputs)

    def nested(view: TokenView) -> None:
        answer(other, inner, inputs, new=2)

    outer = plan((Site(Place.FEATURES, probe=Probe((1,), keys=True)), nested), (at(Place.PROMPT, 1), nothing))
    answer(model, outer, inputs, new=2)
    plainly = watcher()
    answer(model, plainly, inputs, new=2)
    assert torch.equal(inner.seen[0].keys[1], alone.seen[0].keys[1])
    assert torch.equal(outer.seen[0].keys[1], plainly.seen[0].keys[1])


def test_a_second_call_on_a_model_at_work_is_refused(model: Model, inputs: Inputs) -> None:
    def again(view: TokenView) -> None:
        answer(model, Reducer(), inputs, new=1)

    with pytest.raises(RuntimeError, match="one at a time"):
        answer(model, plan((at(Place.FEATURES), again)), inputs)


def test_calls_in_threads_do_not_mix_their_records(model: Model, inputs: Inputs) -> None:
    models = [tiny(seed) for seed in (2, 3)]
    batches = [even(seed) for seed in (4, 5)]
    want = []
    for m, b in zip(models, batches, strict=True):
        want.append(watcher())
        answer(m, want[-1], b)
    got, barrier = [watcher(), watcher()], threading.Barrier(2)

    def work(i: int) -> None:
        torch.set_num_threads(1)
        barrier.wait(timeout=60)
        for _ in range(3):
            answer(models[i], got[i], batches[i], new=2)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    for i in range(2):
        assert len(got[i].seen) == 3
        for view in got[i].seen:
            assert torch.equal(view.keys[1], want[i].seen[0].keys[1])
            assert torch.equal(view.attention(1), want[i].seen[0].attention(1))


def test_state_lives_for_one_call(model: Model, inputs: Inputs) -> None:
    states: list[Any] = []

    class Remembering(Plan):
        def start(self, host: Any) -> Any:
            return ["new"]

        def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction | None:
            states.append((id(state), len(state)))
            state.append(view.step)
            return None

    reducer = Remembering(EVERYWHERE)
    for _ in range(2):
        answer(model, reducer, inputs, new=3)
    assert [n for _, n in states] == [*range(1, 10), *range(1, 10)]
