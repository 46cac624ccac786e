"""What is trained on is what is asked later: same ids, the answers alone are learnt, long ones are cut and counted."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from prunegrid.checkpoints.stand_in import stand_in
from prunegrid.mini.language import TEMPLATE
from prunegrid.run.text import prompt_texts
from prunegrid.tune.conversations import Conversation, Faults
from prunegrid.tune.errors import TuneError
from prunegrid.tune.order import Order
from prunegrid.tune.packing import Packer

from .lab import TOKENS, Lab


def learnt(lab: Lab, labels: list[int]) -> str:
    return lab.processor.tokenizer.decode([i for i in labels if i >= 0])


def test_a_question_has_the_ids_that_evaluation_gives_it(lab: Lab) -> None:
    conversation = lab.ten()[1]
    question = TEMPLATE.format(question=conversation.turns[0][0])
    asked = lab.processor(images=Image.open(conversation.image), text=question, return_tensors="pt")
    ids, labels, cut, _ = lab.packer().encode(conversation)
    length = asked["input_ids"].shape[1]
    assert ids[:length] == asked["input_ids"][0].tolist() and not cut
    assert all(label == -100 for label in labels[:length])
    assert labels[length:] == ids[length:]
    assert learnt(lab, labels) == " red</s>"
    batch = lab.packer().pack([conversation], torch.float32)
    assert torch.equal(batch.inputs["pixel_values"], asked["pixel_values"])


def test_answers_of_every_turn_are_learnt_and_nothing_else(lab: Lab) -> None:
    ids, labels, *_ = lab.packer().encode(lab.ten()[0])
    assert learnt(lab, labels) == " circle</s> 2</s>"
    text = lab.processor.tokenizer.decode([i for i in ids if i != ids[4]])
    assert text.endswith("ASSISTANT: circle</s>USER: How many objects are there? ASSISTANT: 2</s>")


def test_plain_style_is_the_picture_and_its_caption(lab: Lab) -> None:
    ids, labels, *_ = lab.packer("plain").encode(
        Conversation("c", lab.folder, (("Say it.", "a red circle"),))
    )
    image = lab.processor.tokenizer.convert_tokens_to_ids("<image>")
    assert ids[:1] == [lab.processor.tokenizer.bos_token_id] and ids[1 : TOKENS + 1] == [image] * TOKENS
    assert learnt(lab, labels) == "a red circle\n"


def test_batches_are_padded_on_the_left(lab: Lab) -> None:
    batch = lab.packer().pack(lab.ten()[:2], torch.float32)
    mask = batch.inputs["attention_mask"]
    assert (mask[:, -1] == 1).all() and bool((mask[:, 1:] >= mask[:, :-1]).all())
    assert (batch.labels[mask == 0] == -100).all()
    assert batch.inputs["pixel_values"].shape[0] == 2 and batch.ids == ("p0", "p1")


def test_long_conversations_are_cut_and_counted_and_dropped_without_an_answer(lab: Lab) -> None:
    packer, ten = lab.packer(max_length=TOKENS + 15), lab.ten()
    length = len(lab.packer().encode(ten[0]).ids)
    for room, left in ((length, 0), (length - 1, 1)):
        faults = Faults(read=10)
        kept = lab.packer(max_length=room).check(ten, faults)
        assert len(faults.found.get("too long", [])) == 3 * left and len(kept) == 10
    ids, _, cut, _ = packer.encode(ten[0])
    assert cut and len(ids) == TOKENS + 15
    faults = Faults(read=10)
    with pytest.raises(TuneError, match="10 too long"):
        lab.packer(max_length=8).check(ten, faults)


def test_a_character_of_several_tokens_is_several_when_it_is_counted(lab: Lab) -> None:
    processor = stand_in(28, 14)
    packer = Packer(processor, TEMPLATE, TOKENS, "conversation", 100)
    said = Conversation("c", None, (("Say it.", "\N{GRINNING FACE}" * 30),))
    assert len(packer.text(said)[0]) < 100 and packer.encode(said).cut
    faults = Faults(read=1)
    packer.check([said], faults)
    assert faults.found == {"too long": ["c"]}


def test_a_picture_that_cannot_be_read_is_named(lab: Lab) -> None:
    (lab.folder / "images" / "cut.png").write_bytes(b"\x89PNG")
    with pytest.raises(TuneError, match=r"cut\.png \(conversation c\)"):
        lab.packer().pack(
            [Conversation("c", lab.folder / "images" / "cut.png", (("a", "b"),))], torch.float32
        )


def test_a_reducer_reads_in_training_what_it_reads_at_inference(lab: Lab) -> None:
    """The same text, turn and places of its tokens; those of the answers and of later turns are nowhere in it."""
    packer, conversation = lab.packer(), lab.ten()[0]
    (asked,) = prompt_texts(lab.processor.tokenizer, TEMPLATE, [conversation.turns[0][0]])
    encoded = packer.encode(conversation)
    told = packer.asked(conversation, encoded.spans)
    assert (told.text, told.turn, told.question) == (asked.text, asked.turn, conversation.turns[0][0])
    assert told.spans[: len(asked.spans)] == asked.spans
    assert len(told.spans) == len(encoded.ids) - TOKENS > len(asked.spans)
    assert all(a == b for a, b in told.spans[len(asked.spans) :])
    short = lab.packer(max_length=TOKENS + 15)
    cut = short.encode(conversation)
    assert cut.cut and len(short.asked(conversation, cut.spans).spans) == 15


@pytest.mark.parametrize("question", ["A", "", "ASSISTANT: U"])
def test_a_question_is_found_whatever_it_says(lab: Lab, question: str) -> None:
    told = lab.packer().asked(Conversation("q", lab.folder, ((question, "red"),)), ())
    (asked,) = prompt_texts(lab.processor.tokenizer, TEMPLATE, [question])
    assert (told.text, told.turn) == (asked.text, asked.turn)


# ---- the order -----------------------------------------------------------------------------------------------


def order(seed: int = 0, group: bool = True) -> Order:
    shown = tuple(k % 3 > 0 for k in range(25))
    return Order(tuple(range(25)), shown, batch=4, micro=2, seed=seed, group=group)


@pytest.mark.parametrize("group", [True, False])
def test_an_epoch_shows_each_conversation_once_and_a_forward_pass_one_modality(group: bool) -> None:
    made = order(group=group)
    for epoch in range(2):
        steps = [made.micros(epoch * made.per_epoch + k) for k in range(made.per_epoch)]
        assert sorted(i for micros in steps for m in micros for i in m) == list(range(25))
        for micros in steps:
            assert all(len(m) <= 2 and len({made.shown[i] for i in m}) == 1 for m in micros)
        mixed = [s for s in steps if len({made.shown[m[0]] for m in s}) > 1]
        assert len(mixed) <= 2 or not group
    assert [made.micros(k) for k in range(7)] != [made.micros(7 + k) for k in range(7)]
    assert [made.micros(k) for k in range(7)] == [order(group=group).micros(k) for k in range(7)]
    assert made.micros(0) != order(1, group).micros(0)
