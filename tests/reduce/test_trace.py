"""The trace says what was there, in integers, one row per sample."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, LlavaForConditionalGeneration

from prunegrid.reduce import Place, ReducedVLM, Reducer, Reduction, Site, TokenView, Trace

from .lab import LAYERS, PATCHES, Act, Inputs, answer, at, draw, fixed, one, plan, ragged, tiny

Model = LlavaForConditionalGeneration


class Census:
    """Counts, with hooks of its own, how many tokens really enter each module."""

    def __init__(self, model: Model) -> None:
        self.embedded: list[int] = []
        self.vision: list[int] = []
        self.projector: list[int] = []
        self.prompt: list[int] = []
        self.mlp: list[int] = []
        core = model.model
        patches = core.vision_tower.embeddings.patch_embedding
        self.handles = [
            patches.register_forward_hook(lambda _m, _a, out: self.embedded.append(out[0, 0].numel())),
            *(self.count(layer.self_attn.q_proj, self.vision) for layer in core.vision_tower.encoder.layers),
            *(self.count(layer.mlp.fc1, self.mlp) for layer in core.vision_tower.encoder.layers),
            self.count(core.multi_modal_projector.linear_1, self.projector),
            *(self.count(layer.self_attn.q_proj, self.prompt) for layer in core.language_model.layers),
        ]

    def count(self, module: Any, into: list[int]) -> Any:
        return module.register_forward_pre_hook(lambda _m, args: into.append(args[0].shape[1]))

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()


CASES: dict[str, tuple[tuple[Site, Act], ...]] = {
    "none": (),
    "image": ((at(Place.IMAGE), fixed(0, 5, 6)),),
    "vision": ((at(Place.VISION, 0), fixed(*range(9))), (at(Place.VISION, 1), fixed(*range(4)))),
    "mid": (
        (at(Place.VISION, 0, mid=True), fixed(*range(9))),
        (at(Place.VISION, -2, mid=True), fixed(*range(4))),
    ),
    "features": ((at(Place.FEATURES), fixed(7, 1)),),
    "embeds": ((at(Place.EMBEDS), fixed(7, 1)),),
    "prompt": ((at(Place.PROMPT, 1), fixed(1, 7, 9)), (at(Place.PROMPT, 3), fixed(2))),
    "cache": ((at(Place.CACHE, 1), lambda view: fixed(0, 1)(view) if view.step == 0 else None),),
    "nothing": ((at(Place.IMAGE), fixed()),),
}


@pytest.mark.parametrize("name", CASES)
def test_counts_are_those_that_enter_the_layers(model: Model, inputs: Inputs, name: str) -> None:
    alone, new = one(inputs, 1), 4
    census = Census(model)
    try:
        trace = answer(model, plan(*CASES[name]), alone, new).trace
    finally:
        census.close()
    assert trace.embedded == census.embedded
    assert trace.vision == [census.vision]
    assert trace.vision_mlp == ([census.mlp] if name == "mid" else [])
    assert census.mlp == census.vision or name == "mid"
    assert trace.projector == census.projector
    assert trace.prompt == [census.prompt[:LAYERS]]
    text = int(alone["attention_mask"].sum()) - PATCHES
    assert trace.visual == [[n - text for n in census.prompt[:LAYERS]]]
    evicted = 14 if name == "cache" else 0
    held = [n + new - 1 for n in census.prompt[:LAYERS]]
    assert trace.cache == [[held[0], held[1] - evicted, *held[2:]]]
    first = [n + 1 - new for n in trace.cache[0]]
    assert trace.held == ([first] if evicted else [])
    assert trace.new_tokens == [new]


def test_a_layer_that_reduces_in_its_middle_may_be_the_last(
    model: Model, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.config, "vision_feature_layer", -1)
    census = Census(model)
    try:
        trace = answer(model, plan((at(Place.VISION, -1, mid=True), fixed(*range(4)))), one(inputs, 1)).trace
    finally:
        census.close()
    assert trace.vision == [census.vision] and trace.vision_mlp == [census.mlp]
    assert census.mlp[-1] < census.vision[-1]


def test_survivors_are_named_by_patch_at_every_stage(model: Model, inputs: Inputs) -> None:
    first, second = {"0": draw(9, PATCHES, 1), "1": draw(6, PATCHES, 2)}, {"0": [5, 1], "1": [0, 4, 3]}

    def merge(view: TokenView) -> Reduction:
        return Reduction(torch.tensor([[-1, 0], [1, -1]]), torch.rand(2, 2, view.tokens.shape[1]))

    reducer = plan(
        (at(Place.VISION, 1), ragged(first)),
        (at(Place.EMBEDS), ragged(second)),
        (at(Place.PROMPT, -2), merge),
    )
    trace = answer(model, reducer, inputs).trace
    chosen = [[first[b][k] for k in second[b]] for b in ("0", "1")]
    assert trace.kept["vision1"] == [first["0"], first["1"]]
    assert trace.kept["embeds"] == chosen
    assert trace.kept["prompt2"] == [[chosen[0][0], -1], [chosen[1][1], -1]]
    assert [view.index[0, :2].tolist() for view in reducer.seen[1:]] == [first["0"][:2], chosen[0]]


def test_notes_of_every_place_are_numbers_per_sample(model: Model, inputs: Inputs) -> None:
    def noting(name: str) -> Act:
        return lambda view: Reduction(
            torch.zeros(2, 1, dtype=torch.long), note={name: torch.tensor([0.5, 2.0])}
        )

    places = (at(Place.VISION, 0), at(Place.FEATURES), at(Place.PROMPT, 1), at(Place.CACHE, 2))
    trace = answer(model, plan(*((site, noting(str(site.place))) for site in places)), inputs).trace
    assert trace.notes == [{str(site.place): value for site in places} for value in (0.5, 2.0)]


def oldest(view: TokenView) -> Reduction:
    """Forget one more at every step."""
    return Reduction(torch.arange(1, view.tokens.shape[1]).expand(len(view.tokens), -1))


@pytest.mark.parametrize("steps", [CASES["none"], CASES["prompt"], ((at(Place.CACHE, 1), oldest),)])
def test_a_sample_is_counted_up_to_its_own_end(inputs: Inputs, steps: tuple[tuple[Site, Act], ...]) -> None:
    """A sample that ends early is padded while the others go on; that is not its cost."""
    model = tiny()
    free = answer(model, plan(*steps), inputs, new=6).tokens
    end = next(t for t in free[0].tolist() if t not in free[1].tolist())
    model.generation_config.eos_token_id = end
    both = answer(model, plan(*steps), inputs, new=6).trace
    assert both.new_tokens == [free[0].tolist().index(end) + 1, 6]
    for b in range(2):
        alone = answer(model, plan(*steps), one(inputs, b), new=6, ids=[str(b)]).trace
        assert both.sample(b) == alone.sample(0)


@pytest.mark.parametrize("reducer", [Reducer(), plan(*CASES["prompt"])])
def test_the_end_is_found_wherever_it_was_set(model: Model, inputs: Inputs, reducer: Reducer) -> None:
    vlm = ReducedVLM(model, reducer)
    options: dict[str, Any] = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    free, _ = vlm.generate(inputs, **options)
    end = int(free[1, 1])
    want = [row.index(end) + 1 if end in row else 5 for row in free.tolist()]
    for given in ({"eos_token_id": [end, 126]}, {"generation_config": GenerationConfig(eos_token_id=end)}):
        assert vlm.generate(inputs, **options, **given)[1].new_tokens == want


def test_a_trace_is_plain_and_does_not_change_from_run_to_run(model: Model, inputs: Inputs) -> None:
    steps = ((at(Place.VISION, 0), fixed(*range(12))), *CASES["prompt"])
    traces = [answer(model, plan(*steps), inputs).trace for _ in range(2)]
    texts = [json.dumps(asdict(trace)) for trace in traces]
    assert texts[0] == texts[1]
    assert Trace(**json.loads(texts[0])) == traces[0]
    row = traces[0].sample(1)
    assert row["vision"] == [17, 13, 13, 13]
    assert row["kept"] == {"vision0": list(range(12)), "prompt1": [1, 7, 9], "prompt3": [9]}
