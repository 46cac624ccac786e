"""CLIP's text tower: as CLIP itself reads a sentence, in windows where it is long; what needs it says so."""

from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import ReducedVLM, TextTower
from prunegrid.reduce.methods.cdpruner import CDPruner
from prunegrid.reduce.methods.ivtp import IVTP

from . import clip, oracle
from .lab import Inputs, close, one

pytestmark = pytest.mark.usefixtures("no_grad")
Model = LlavaForConditionalGeneration
LONG = " ".join(f"w{i}" for i in range(100, 160))  # 240 tokens: 4 windows


def test_sentences_are_clips_own(model: Model) -> None:
    raw, tower, texts = clip.raw(model), clip.tower(model), ["w1 w23", "w456", ""]
    for text, read in zip(texts, tower.read(texts), strict=True):
        ids = clip.tokenizer()(text, add_special_tokens=False)["input_ids"]
        whole = torch.tensor([[clip.BEGIN, *ids, clip.END]])
        close(read.pooled, raw.get_text_features(input_ids=whole).pooler_output)
        states = raw.text_projection(raw.text_model(input_ids=whole).last_hidden_state[0])
        close(torch.cat([read.tokens, states[-1:]]), states[1:])
        assert [text[a:b] for a, b in read.spans] == [c for c in text if c != " "]


def test_long_texts_are_read_in_windows_of_75(model: Model) -> None:
    raw, tower = clip.raw(model), clip.tower(model)
    (read,) = tower.read([LONG])
    ids = clip.tokenizer()(LONG, add_special_tokens=False)["input_ids"]
    assert len(read.tokens) == len(read.spans) == len(ids) == 240
    assert read.pooled.shape == (4, clip.JOINT)
    for w, start in enumerate(range(0, 240, 75)):
        window = torch.tensor([[clip.BEGIN, *ids[start : start + 75], clip.END]])
        states = raw.text_projection(raw.text_model(input_ids=window).last_hidden_state[0])
        close(read.tokens[start : start + 75], states[1:-1])
        close(read.pooled[w], states[-1])


def test_what_stands_beside_a_text_does_not_change_it(model: Model) -> None:
    tower = clip.tower(model)
    alone, beside = tower.read(["w7"])[0], tower.read([LONG, "w7"])[1]
    close(alone.tokens, beside.tokens)
    close(alone.pooled, beside.pooled)


def test_pictures_are_clips_own_embeddings(model: Model, inputs: Inputs) -> None:
    raw = deepcopy(clip.raw(model))
    raw.vision_model.load_state_dict(raw.vision_model.state_dict() | model.model.vision_tower.state_dict())
    x = oracle.vit(model, oracle.patches(model, one(inputs, 0)["pixel_values"]), 0, 4)
    want = raw.get_image_features(one(inputs, 0)["pixel_values"]).pooler_output
    close(TextTower(raw, clip.tokenizer()).image(x[:1]), want)


def test_who_needs_it_says_so(model: Model) -> None:
    assert IVTP().reads_text and CDPruner().reads_text
    assert not IVTP(stages="first").reads_text and not IVTP(te=False).reads_text
    for reducer in (IVTP(5, group=2, layers=2), CDPruner(5)):
        with pytest.raises(ValueError, match=r"text=TextTower\(clip, tokenizer\)"):
            ReducedVLM(model, reducer)


def test_a_text_tower_that_reads_too_little_is_refused(model: Model) -> None:
    raw = clip.raw(model)
    short = SimpleNamespace(
        text_model=raw.text_model,
        text_projection=raw.text_projection,
        visual_projection=raw.visual_projection,
        vision_model=raw.vision_model,
        config=SimpleNamespace(text_config=SimpleNamespace(max_position_embeddings=40)),
    )
    with pytest.raises(ValueError, match="reads 40 tokens at once; 77 are needed"):
        TextTower(short, clip.tokenizer())
