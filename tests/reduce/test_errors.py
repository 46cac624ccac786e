"""What cannot be done is refused before it goes wrong, in words that name the cause."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache, GenerationConfig, LlavaForConditionalGeneration

from prunegrid.reduce import Place, Probe, ReducedVLM, Reducer, Reduction, ScoreReducer, Site, TokenView

from .lab import IMAGE, KV_HEADS, PATCHES, Inputs, answer, at, batch, fixed, nothing, plan, tiny

Model = LlavaForConditionalGeneration


def generate(model: Model, inputs: Any, reducer: Reducer, **decoding: Any) -> None:
    ReducedVLM(model, reducer).generate(inputs, max_new_tokens=2, do_sample=False, **decoding)


# ---- decoding ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_beams", 2),
        ("num_return_sequences", 2),
        ("assistant_model", "a model"),
        ("prompt_lookup_num_tokens", 3),
        ("past_key_values", DynamicCache()),
        ("use_cache", False),
        ("cache_implementation", "static"),
        ("prefill_chunk_size", 4),
        ("guidance_scale", 1.5),
        ("return_dict_in_generate", True),
    ],
)
@pytest.mark.parametrize("reducer", [Reducer(), plan((at(Place.PROMPT, 1), fixed(0)))])
def test_decoding_that_breaks_the_bookkeeping_is_refused(
    model: Model, inputs: Inputs, name: str, value: Any, reducer: Reducer
) -> None:
    with pytest.raises(ValueError, match=f"{name}=.* is not supported with token reduction"):
        generate(model, inputs, reducer, **{name: value})


def test_settings_hidden_in_configurations_and_inputs_are_found(model: Model, inputs: Inputs) -> None:
    reducer = plan((at(Place.FEATURES), fixed(0)))
    with pytest.raises(ValueError, match="num_beams=3"):
        generate(model, inputs, reducer, generation_config=GenerationConfig(num_beams=3))
    with pytest.raises(ValueError, match="past_key_values"):
        generate(model, {**inputs, "past_key_values": DynamicCache()}, reducer)
    changed = tiny()
    changed.generation_config.num_beams = 2
    with pytest.raises(ValueError, match="num_beams=2"):
        generate(changed, inputs, reducer)
    generate(changed, inputs, reducer, num_beams=1)


def test_a_prompt_in_pieces_is_refused(model: Model, inputs: Inputs) -> None:
    vlm = ReducedVLM(model, plan((at(Place.PROMPT, 1), fixed(0))))
    with vlm._session((), ()) as session, torch.no_grad(), pytest.raises(ValueError, match="in one pass"):
        encoded = session.encode(inputs["input_ids"], inputs["attention_mask"], inputs["pixel_values"])
        model(input_ids=encoded.input_ids[:, :2])


# ---- prompts and pictures ------------------------------------------------------------------------------------
def test_pictures_and_placeholders_must_match(model: Model, inputs: Inputs) -> None:
    reducer = plan((at(Place.FEATURES), fixed(0)))
    with pytest.raises(ValueError, match="1 pictures for 2 prompts"):
        generate(model, {**inputs, "pixel_values": inputs["pixel_values"][:1]}, reducer)
    with pytest.raises(ValueError, match="prompt 0 has no image placeholder"):
        generate(model, {**inputs, "input_ids": inputs["input_ids"].clamp_max(IMAGE - 1)}, reducer)
    with pytest.raises(ValueError, match="no pictures were given"):
        generate(model, {k: v for k, v in inputs.items() if k != "pixel_values"}, reducer)
    torn = inputs["input_ids"].clone()
    torn[:, 10] = 5
    with pytest.raises(ValueError, match="placeholders in several places"):
        generate(model, {**inputs, "input_ids": torn}, reducer)
    with pytest.raises(ValueError, match="1 sample ids were given for 2 samples"):
        generate(model, inputs, reducer, ids=["a"])


def test_models_it_does_not_know_are_refused() -> None:
    other = tiny()
    other.model.config.vision_feature_select_strategy = "full"
    with pytest.raises(ValueError, match="vision_feature_select_strategy='full'"):
        ReducedVLM(other, plan((at(Place.FEATURES), fixed(0)))).forward(batch())
    several = tiny()
    several.model.config.vision_feature_layer = [-2, -3]
    with pytest.raises(ValueError, match="several layers"):
        ReducedVLM(several, plan((at(Place.FEATURES), fixed(0)))).forward(batch())
    strange = tiny()
    strange.model.config.model_type = "strange"
    with pytest.raises(ValueError, match=r"'strange' is not supported; known: llava"):
        ReducedVLM(strange, Reducer())


# ---- sites and probes ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"place": Place.VISION}, "needs a layer"),
        ({"place": Place.FEATURES, "layer": 1}, "takes no layer"),
        ({"place": Place.FEATURES, "mid": True}, "mid means nothing at features"),
        ({"place": Place.PROMPT, "layer": 1, "proportional": True}, "proportional means nothing at prompt"),
        ({"place": Place.EMBEDS, "scope": "all"}, "scope means nothing at embeds"),
        ({"place": Place.CACHE, "layer": 1, "positions": "renumber"}, "positions means nothing at cache"),
    ],
)
def test_sites_that_mean_nothing_are_refused(options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Site(**options)


@pytest.mark.parametrize(
    ("site", "words"),
    [
        (Site(Place.VISION, 4), "ViT layer 4 does not exist: this model has 4"),
        (Site(Place.VISION, 3), "ViT layer 3 changes nothing: LLaVA reads layer 2's output"),
        (Site(Place.VISION, -1, mid=True), "ViT layer 3 changes nothing"),
        (Site(Place.PROMPT, -5), "LLM layer -5 does not exist"),
        (Site(Place.VISION, 1, Probe((2,))), "vision 1 cannot probe ViT layer 2; layers it can: 0 to 1"),
        (Site(Place.IMAGE, probe=Probe((0,))), "image cannot probe ViT layer 0; layers it can: none"),
        (Site(Place.PROMPT, 2, Probe((3,), queries="last")), "prompt 2 cannot probe LLM layer 3; .* 0 to 2"),
        (Site(Place.PROMPT, 2, Probe((2,), queries="text")), "prompt 2 reads layer 2 before it has run"),
        (Site(Place.PROMPT, 2, Probe((2,), "last", values=True)), "prompt 2 reads layer 2 before it has run"),
        (Site(Place.CACHE, 2, Probe((1,), queries=None)), "cache 2 cannot probe LLM layer 1; .* 2 to 2"),
        (Site(Place.PROMPT, 2, Probe((1,))), "queries='cls' do not exist at prompt 2"),
        (Site(Place.FEATURES, probe=Probe((1,), queries="last")), "queries='last' do not exist at features"),
        (Site(Place.PROJECTOR), "has a PROJECTOR site but module"),
    ],
)
def test_sites_that_cannot_act_are_refused(model: Model, inputs: Inputs, site: Site, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        answer(model, plan((site, nothing)), inputs)


def test_two_sites_at_one_layer_of_the_tower_or_the_cache_are_refused(model: Model, inputs: Inputs) -> None:
    for place in (Place.VISION, Place.CACHE):
        with pytest.raises(ValueError, match="two sites at one layer"):
            answer(
                model, plan((Site(place, 1), nothing), (Site(place, 1, Probe((1,), None)), nothing)), inputs
            )


# ---- reductions ----------------------------------------------------------------------------------------------
def rows(*keep: int) -> torch.Tensor:
    return torch.tensor(keep).expand(2, -1)


@pytest.mark.parametrize(
    ("reduction", "words"),
    [
        (Reduction(rows(0, PATCHES)), r"keep must lie in 0\.\.15 \(or -1\), got 0\.\.16"),
        (Reduction(rows(-2, 0)), r"got -2\.\.0"),
        (Reduction(rows(-1, 0)), "needs weights"),
        (Reduction(rows(0, 1)[:1]), r"keep \[1, 2\] must have a row for each of the 2 samples"),
        (Reduction(rows(0, 1), valid=torch.ones(2, 3).bool()), r"valid \[2, 3\] does not fit keep \[2, 2\]"),
        (Reduction(rows(0, 1), weights=torch.ones(2, 3, PATCHES)), "weights .* does not fit keep"),
    ],
)
@pytest.mark.parametrize("site", [Site(Place.EMBEDS), Site(Place.PROMPT, 1)])
def test_impossible_reductions_are_refused(
    model: Model, inputs: Inputs, site: Site, reduction: Reduction, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        answer(model, plan((site, lambda view: reduction)), inputs)


def test_indices_must_be_int64(model: Model, inputs: Inputs) -> None:
    with pytest.raises(TypeError, match="keep must be int64"):
        answer(model, plan((Site(Place.EMBEDS), lambda view: Reduction(rows(0).int()))), inputs)


@pytest.mark.parametrize(
    ("reduction", "words"),
    [
        (Reduction(rows(0), weights=torch.ones(2, 1, PATCHES)), "merging keys and values is not supported"),
        (Reduction(torch.zeros(2, 4, 1, dtype=torch.long)), f"each of the {KV_HEADS} KV heads"),
        (Reduction(rows(PATCHES)), r"Plan at cache 2: keep must lie in 0\.\.15"),
    ],
)
def test_impossible_evictions_are_refused(
    model: Model, inputs: Inputs, reduction: Reduction, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        answer(model, plan((Site(Place.CACHE, 2), lambda view: reduction)), inputs)


def test_rows_for_tokens_made_since_are_refused(model: Model, inputs: Inputs) -> None:
    def merge(view: TokenView) -> Reduction:
        return Reduction(rows(3, -1), torch.rand(2, 2, PATCHES))

    late = Site(Place.PROMPT, 3, Probe((1,), queries="last"))
    with pytest.raises(ValueError, match="LLM layer 1 has no column"):
        answer(model, plan((Site(Place.PROMPT, 2), merge), (late, nothing)), inputs)
    seen = plan((Site(Place.PROMPT, 2), merge), (Site(Place.PROMPT, 3, Probe((2,), queries="last")), nothing))
    answer(model, seen, inputs)
    assert seen.seen[1].attention(2).shape[-1] == 2


@pytest.mark.parametrize("keep", [0, -3, 0.0, 1.5, True, "all"])
def test_budgets_that_are_none_are_refused(keep: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="keep"):
        ScoreReducer(keep)


def test_sites_without_a_reduce_are_told(model: Model, inputs: Inputs) -> None:
    class Forgotten(Reducer):
        def sites(self, shape: Any) -> list[Site]:
            return [Site(Place.FEATURES)]

    with pytest.raises(NotImplementedError, match=r"Forgotten has sites but no reduce\(\)"):
        answer(model, Forgotten(), inputs)


def test_checkpointed_layers_need_an_attention_that_backward_can_repeat(inputs: Inputs) -> None:
    model = tiny().train()
    model.gradient_checkpointing_enable()
    model.model.language_model.set_attn_implementation("eager")
    with pytest.raises(ValueError, match="attention 'eager' with gradient checkpointing"):
        ReducedVLM(model, plan((at(Place.PROMPT, 1), fixed(0)))).forward(inputs)
    with torch.no_grad():
        ReducedVLM(model, plan((at(Place.PROMPT, 1), fixed(0)))).forward(inputs)
