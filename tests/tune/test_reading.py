"""Reducers that read the question keep the same tokens in training as at inference, whatever is answered and said later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from prunegrid.mini.language import TEMPLATE
from prunegrid.reduce import ReducedVLM, Reducer, Trace
from prunegrid.reduce.methods.cdpruner import CDPruner
from prunegrid.reduce.methods.ivtp import IVTP
from prunegrid.run.text import prompt_texts
from prunegrid.tune.conversations import Conversation
from prunegrid.tune.packing import Packer
from prunegrid.tune.state import State, Stop

from .lab import TOKENS, Lab

READERS: dict[str, Reducer] = {
    "ivtp": IVTP(keep=4, group=2, layers=2, tau=-0.02),
    "ivtp all": IVTP(keep=4, group=2, layers=2, tau=-0.02, text="all"),
    "ivtp rebuilt": IVTP(keep=4, group=2, layers=2, tau=-0.02, pseudo="rebuilt"),
    "cdpruner": CDPruner(keep=5),
    "cdpruner all": CDPruner(keep=5, text="all"),
}


def at_inference(lab: Lab, reducer: Reducer, conversation: Conversation) -> Trace:
    """As a prediction asks."""
    question = conversation.turns[0][0]
    text = TEMPLATE.format(question=question)
    picture = Image.open(conversation.image).convert("RGB")  # type: ignore[arg-type]
    inputs = lab.processor(images=picture, text=text, return_tensors="pt")
    host = ReducedVLM(lab.model.eval(), reducer, seed=3, text=lab.tower())
    told = prompt_texts(lab.processor.tokenizer, TEMPLATE, [question])
    asked = {name: inputs[name] for name in ("input_ids", "attention_mask", "pixel_values")}
    return host.generate(asked, [conversation.id], told, max_new_tokens=1, do_sample=False)[1]


def in_training(lab: Lab, reducer: Reducer, conversations: list[Conversation]) -> Trace:
    """As a forward pass of a tuning does, in one batch."""
    batch = lab.packer().pack(conversations, torch.float32)
    host = lab.tuner(reducer, dropout=0.0)._hosts[True]
    return host.forward(batch.inputs, batch.labels, batch.ids, batch.asked)[1]


@pytest.mark.parametrize("name", READERS)
def test_the_tokens_are_those_of_inference(lab: Lab, name: str) -> None:
    conversations = lab.ten()[:4]  # two turns and one, of different lengths
    trained = in_training(lab, READERS[name], conversations)
    kept = []
    for b, conversation in enumerate(conversations):
        asked = at_inference(lab, READERS[name], conversation)
        assert trained.sample(b)["kept"] == asked.sample(0)["kept"]
        if name.startswith("ivtp"):
            assert trained.words[b] == asked.words[0]
            assert trained.notes[b]["text_share"] == pytest.approx(asked.notes[0]["text_share"], rel=0.3)
        kept.append(str(asked.sample(0)["kept"]))
    assert len(set(kept)) > 1, "pictures and questions decide"
    assert not name.startswith("ivtp") or any(trained.words)


@pytest.mark.parametrize("name", ["ivtp", "cdpruner"])
def test_they_are_trained_with(lab: Lab, tmp_path: Path, name: str) -> None:
    """In batches with and without pictures, padded and checkpointed."""
    tuner = lab.tuner(READERS[name], steps=5)
    tuner.run(State(tmp_path, "f"), Stop(), show=False)
    assert all(w.isfinite().all() for w in tuner.weights.values())


def test_without_a_question_in_the_prompt_no_word_decides(lab: Lab) -> None:
    """Captions alone: the pseudo-CLS is the picture's."""
    conversations = [
        Conversation(c.id, c.image, (("Describe the picture.", "a red circle"),)) for c in lab.ten()[:2]
    ]
    packer: Any = Packer(lab.processor, TEMPLATE, TOKENS, "plain", 200)
    batch = packer.pack(conversations, torch.float32)
    assert [told.question for told in batch.asked] == ["Describe the picture."] * 2
    host = lab.tuner(READERS["ivtp"], dropout=0.0)._hosts[True]
    trace = host.forward(batch.inputs, batch.labels, batch.ids, batch.asked)[1]
    assert trace.words == [[], []] and [row[-1] for row in trace.visual] == [4, 4]
    tuner = lab.tuner(READERS["cdpruner"])
    assert tuner.forward(batch).visual == 10
