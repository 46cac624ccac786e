"""What a batch gives is what its samples give alone, whatever the padding, the precision or the picture."""

from __future__ import annotations

import torch
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Place, Reducer, Reduction, TokenView

from .lab import EVERYWHERE, Act, Inputs, answer, at, fixed, one, plan, tiny

Model = LlavaForConditionalGeneration


def test_a_padded_batch_equals_its_samples_alone(model: Model, inputs: Inputs) -> None:
    both = answer(model, plan(*EVERYWHERE), inputs, new=5)
    for b in range(2):
        alone = answer(model, plan(*EVERYWHERE), one(inputs, b), new=5, ids=[str(b)])
        torch.testing.assert_close(both.logits[b], alone.logits[0], rtol=1e-4, atol=1e-4)
        assert both.trace.sample(b) == alone.trace.sample(0)


def test_padding_on_the_right_is_moved_to_the_left(model: Model, inputs: Inputs) -> None:
    flipped = dict(inputs)
    for b, real in enumerate(inputs["attention_mask"].sum(1).tolist()):
        for name in ("input_ids", "attention_mask"):
            flipped[name] = flipped[name].clone()
            flipped[name][b] = flipped[name][b].roll(real - len(flipped[name][b]))
    steps = (at(Place.FEATURES), fixed(3, 1)), (at(Place.PROMPT, 1), fixed(1))
    assert torch.equal(
        answer(model, plan(*steps), inputs).logits, answer(model, plan(*steps), flipped).logits
    )


def test_random_choices_depend_on_seed_and_sample_only(model: Model, inputs: Inputs) -> None:
    def draws(batch: Inputs, ids: list[str], seed: int) -> list[list[float]]:
        got: list[list[float]] = []

        def act(view: TokenView) -> None:
            got.extend(torch.rand(3, generator=g).tolist() for g in view.generators(seed))

        answer(model, plan((at(Place.FEATURES), act)), batch, new=1, ids=ids)
        return got

    a, b = draws(inputs, ["x", "y"], 0)
    assert draws(one(inputs, 1), ["y"], 0) == [b]
    assert a != b
    assert draws(inputs, ["x", "y"], 1) != [a, b]


def test_half_precision_goes_through_every_place(inputs: Inputs) -> None:
    model = tiny().bfloat16()
    half = {k: v.bfloat16() if v.is_floating_point() else v for k, v in inputs.items()}
    weights = torch.rand(2, 14, 17).softmax(-1)
    merge: Act = lambda view: Reduction(view.index[:, :14].contiguous(), weights)  # noqa: E731
    for first in (EVERYWHERE[0], (at(Place.IMAGE), merge)):
        got = answer(model, plan(first, *EVERYWHERE[1:]), half)
        assert got.logits.isfinite().all()
        assert got.trace.visual == [[4, 4, 3, 3]] * 2


def test_prompts_without_a_picture_go_through_every_place(model: Model, inputs: Inputs) -> None:
    text = {k: v[:, -3:] for k, v in inputs.items() if k != "pixel_values"}
    got = answer(model, plan(*EVERYWHERE), text)
    assert torch.equal(got.logits, answer(model, Reducer(), text).logits)
    assert got.trace.vision == [[0] * 4] * 2
