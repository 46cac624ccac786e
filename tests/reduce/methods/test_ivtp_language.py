"""IVTP's second stage on the tiny LLaVA: what it drops, and the logits, as slow whole runs of one sample have them."""

from __future__ import annotations

from typing import Any

import pytest
from ivtp_oracle import key_tokens, stages, tower
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce.methods.ivtp import IVTP
from prunegrid.reduce.methods.schedule import geometric, linear
from prunegrid.shape import ModelShape, llava15_7b, llava15_13b
from reduce import clip, oracle
from reduce.lab import IMAGE, PATCHES, Answer, Inputs, answer, batch, close, even, one, prompt_of

pytestmark = pytest.mark.usefixtures("no_grad")
Model = LlavaForConditionalGeneration
FOUR = batch((3, 7, 5, 2), 3, (2, 1, 4, 3))
# Only the pseudo-CLS of layer 2 counts, made of all words.
TOP: dict[str, Any] = {
    "group": 3,
    "layers": 3,
    "te": False,
    "rt": False,
    "attention": "single",
    "stages": "second",
}


def test_the_counts_are_those_that_the_published_flops_imply() -> None:
    """576, 480, ..., 133 in the ViT, 111, 92, 77, 64 in the language model; the refuted schedules too."""
    shape = llava15_7b()
    ratio = [480, 399, 333, 277, 231, 192, 160, 133, 111, 92, 77, 64]
    assert IVTP().counts(shape) == ratio
    assert [s.layer for s in IVTP().sites(shape)] == [0, 2, 5, 8, 11, 14, 17, 20, None, 3, 6, 9, 12]
    assert [s.layer for s in IVTP().sites(llava15_13b())][-4:] == [3, 6, 9, 12], "12 of 40 layers there"
    assert IVTP(schedule="number").counts(shape)[7] == 235
    assert IVTP(middle=128).counts(shape) == [*geometric(576, 128, 8), *geometric(128, 64, 4)]
    assert IVTP(middle=128, schedule="number").counts(shape) == [*linear(576, 128, 8), 112, 96, 80, 64]
    assert [len(IVTP(group=g).counts(shape)) for g in (2, 3, 4, 6, "all")] == [18, 12, 9, 6, 2]
    assert len(IVTP(attention="layerwise").counts(shape)) == 36
    for keep in (16, 32, 64, 128, 256, 512):
        counts = IVTP(keep=keep).counts(shape)
        assert counts == sorted(counts, reverse=True) and counts[-1] == keep
        want = 576 * (keep / 576) ** (8 / 12)
        assert abs(counts[7] - want) <= 0.5


def check(model: Model, options: dict[str, Any], inputs: Inputs) -> Answer:
    """Kept patches of every site, key words, and the logits of every step, for each sample alone."""
    reducer, shape = IVTP(5, **options), ModelShape.from_config(model.config.to_dict())
    got, prompts = answer(model, reducer, inputs, 3), clip.told(inputs, IMAGE)
    counts, vision = reducer.counts(shape), reducer.groups(shape)
    prunes = list(zip(reducer.language_groups(shape), counts[len(vision) :], strict=True))
    for b, prompt in enumerate(prompts):
        seen = tower(model, inputs["pixel_values"][b : b + 1], vision, counts[: len(vision)], options)
        x, visual = prompt_of(model, inputs, b, seen.visual)
        text = [t for t in range(len(x)) if t not in visual]
        ghost, key = key_tokens(model, seen, prompt, x[text], options)
        want = stages(model, x, visual, ghost, key, prunes, options)
        alive = seen.history[-1] if seen.history else list(range(PATCHES))
        for layer, keep, _ in want:
            alive = [alive[k] for k in keep]
            assert got.trace.kept[f"prompt{layer}"][b] == alive, (b, layer)
        assert got.trace.visual[b][-1] == 5
        if reducer.ott and reducer.rt:
            assert got.trace.words[b] == [prompt.text[slice(*prompt.spans[k])] for k in key]
            said = text if reducer.text == "all" else [t for t in text if t >= visual.stop][:-1]
            assert got.trace.notes[b]["text_share"] == pytest.approx(len(key) / max(1, len(said)))
        close(got.logits[b], oracle.masked(model, x, visual, want, got.tokens[b]))
    return got


@pytest.mark.parametrize(
    "options",
    [
        {"group": 2, "layers": 3, "tau": 0.0},
        {"group": 3, "layers": 3, "tau": 0.0, "stages": "second"},
        {"group": 3, "layers": 3, "tau": 0.0, "pseudo": "rebuilt"},
        {"group": 2, "layers": 3, "tau": 1.0},
        {"group": 2, "layers": 3, "tau": 0.05, "text": "all", "positions": "renumber"},
        {"group": "all", "layers": 3, "tau": 0.0, "stages": "second", "positions": "renumber"},
        {"attention": "layerwise", "layers": 2, "tau": 0.0},
        {"group": 2, "layers": 2, "attention": "single", "tau": 0.0},
        TOP | {"pseudo": "rebuilt"},
        {"group": 3, "layers": 3, "aggregation": "mean", "tau": 0.0},
        {"group": 3, "layers": 3, "aggregation": "max", "tau": 0.0},
        {"group": 3, "layers": 3, "aggregation": "multiply", "tau": 0.0, "values": False},
        {"group": 2, "layers": 3, "te": False, "rt": False},
        {"group": 2, "layers": 3, "te": False, "tau": 0.0},
        {"group": 2, "layers": 3, "te": False, "rt": False, "ott": False},
        {"group": 2, "layers": 3, "te": False, "rt": False, "pseudo": "rebuilt", "positions": "renumber"},
        {"group": 2, "layers": 3, "middle": 8, "schedule": "number", "peek": False, "tau": 0.0},
    ],
    ids=str,
)
def test_every_switch_as_slow_runs_of_one_sample(model: Model, options: dict[str, Any]) -> None:
    check(model, options, FOUR)


@pytest.mark.parametrize(
    "inputs", [one(batch(), 1), even(), batch((1, 12), 5, (6, 1))], ids=["1", "even", "long"]
)
def test_batches_alone_even_and_padded(model: Model, inputs: Inputs) -> None:
    check(model, {"group": 2, "layers": 3, "tau": 0.0}, inputs)


def test_the_switches_matter(model: Model) -> None:
    """Else the tests above would hold nothing: thresholds choose some words, and each setting prunes otherwise."""
    plain = check(model, {"group": 3, "layers": 3, "tau": 0.0, "stages": "second"}, FOUR)
    shares = [row["text_share"] for row in plain.trace.notes]
    assert 0 < sum(shares) < len(shares)
    for other in ({"tau": 1.0}, {"te": False, "rt": False}, {"attention": "single"}):
        options = {"group": 3, "layers": 3, "tau": 0.0, "stages": "second", **other}
        kept = answer(model, IVTP(5, **options), FOUR, 1).trace.kept
        assert kept["prompt3"] != plain.trace.kept["prompt3"], other
    kept = [
        answer(model, IVTP(5, **TOP, pseudo=pseudo), FOUR, 1).trace.kept["prompt3"]  # type: ignore[arg-type]
        for pseudo in ("carried", "rebuilt")
    ]
    assert kept[0] != kept[1]
