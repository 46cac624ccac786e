"""Conversations -> token ids, labels and pictures, in the form that the same model is asked in when it is evaluated."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from prunegrid.reduce import PromptText
from prunegrid.tune.conversations import IMAGE, Conversation, Faults
from prunegrid.tune.errors import TuneError

TEMPLATE = re.compile(
    r"(?P<system>.*)(?P<user>USER: )<image>\n\{question\}(?P<assistant> ASSISTANT:)", re.DOTALL
)


@dataclass(frozen=True)
class Batch:
    """One forward pass. inputs: input_ids and attention_mask [B, T] left-padded, pixel_values [B, 3, h, w] or absent;
    labels [B, T]: -100 where nothing is to be learnt; ids of the conversations; asked: their first questions, as a
    reducer reads them."""

    inputs: Mapping[str, Tensor]
    labels: Tensor
    ids: tuple[str, ...]
    asked: tuple[PromptText, ...]


class Encoded(NamedTuple):
    """ids and labels, one per position; cut: whether the conversation was longer; spans: per token that is no
    placeholder, its characters [start, end) in the text."""

    ids: list[int]
    labels: list[int]
    cut: bool
    spans: list[tuple[int, int]]


@dataclass(frozen=True)
class Packer:
    """processor: the model's own; template: the prompt around a question (conf/model); tokens: visual ones per picture;
    style: conversation | plain; max_length: tokens, longer conversations are cut at their end."""

    processor: Any
    template: str
    tokens: int
    style: str
    max_length: int

    def text(self, conversation: Conversation) -> tuple[str, list[tuple[int, int]]]:
        """The whole text, and where in it the answers stand: [start, end) with the end-of-sequence.

        vicuna_v1 of llava/conversation.py and preprocess_plain of llava/train/train.py at c121f043: a turn is
        "USER: question ASSISTANT: answer</s>", the next follows at once.
        """
        if self.style == "plain":
            caption = conversation.turns[0][1] + "\n"
            return IMAGE + caption, [(len(IMAGE), len(IMAGE) + len(caption))]
        parts = TEMPLATE.fullmatch(self.template)
        if parts is None:
            raise TuneError(
                f"template {self.template!r} must read '... USER: <image>\\n{{question}} ASSISTANT:' to train with it"
            )
        whole, spans = parts["system"], []
        for number, (question, answer) in enumerate(conversation.turns):
            picture = f"{IMAGE}\n" if number == 0 and conversation.image else ""
            whole += f"{parts['user']}{picture}{question}{parts['assistant']}"
            start = len(whole)
            whole += f" {answer.strip()}{self.processor.tokenizer.eos_token}"
            spans.append((start, len(whole)))
        return whole, spans

    def encode(self, conversation: Conversation) -> Encoded:
        """Every placeholder stands for `tokens` positions."""
        text, answers = self.text(conversation)
        made = self.processor.tokenizer(text, return_offsets_mapping=True)
        picture = self.processor.tokenizer.convert_tokens_to_ids(IMAGE)
        ids: list[int] = []
        labels: list[int] = []
        spans: list[tuple[int, int]] = []
        for token, (start, end) in zip(made["input_ids"], made["offset_mapping"], strict=True):
            count = self.tokens if token == picture else 1
            learnt = end > start and any(a <= start and end <= b for a, b in answers)
            if token != picture and len(ids) < self.max_length:
                spans.append((start, end))
            ids += [token] * count
            labels += [token if learnt else -100] * count
        return Encoded(ids[: self.max_length], labels[: self.max_length], len(ids) > self.max_length, spans)

    def asked(self, conversation: Conversation, spans: Sequence[tuple[int, int]]) -> PromptText:
        """What a reducer reads: the prompt up to the first answer, as it stands at inference; later tokens have no
        characters in it. In plain style no question is in the prompt: it is read, but none of its tokens is there."""
        question = conversation.turns[0][0]
        if self.style == "plain":
            return PromptText(question, ((0, 0),) * len(spans))
        whole, answers = self.text(conversation)
        parts, end = TEMPLATE.fullmatch(self.template), answers[0][0]
        assert parts is not None
        said = end - len(parts["assistant"]) - len(question)
        inside = tuple((a, b) if b <= end else (end, end) for a, b in spans)
        return PromptText(
            whole[:end].replace(IMAGE, " " * len(IMAGE), 1), inside, (said, said + len(question))
        )

    def check(self, conversations: Sequence[Conversation], faults: Faults) -> list[Conversation]:
        """Those that have an answer left after the cut. Longer ones than `max_length` are counted among the faults."""
        kept = []
        quick = len(conversations) < 10_000
        for conversation in tqdm(conversations, desc="check", unit="conversation", disable=quick):
            text, _ = self.text(conversation)
            room = self.max_length - (self.tokens if conversation.image else 0)
            if len(text.encode()) <= room:  # a token is at least a byte; a rare character may be several
                kept.append(conversation)
                continue
            made = self.encode(conversation)
            if made.cut:
                faults.add("too long", conversation.id)
            if any(label >= 0 for label in made.labels):
                kept.append(conversation)
        if not kept:
            raise TuneError(f"no conversation is left of {faults}")
        return kept

    def pack(self, conversations: Sequence[Conversation], dtype: torch.dtype) -> Batch:
        """One batch of one modality. Raises TuneError by name where a picture cannot be read."""
        rows = [self.encode(c) for c in conversations]
        longest, pad = max(len(row.ids) for row in rows), self.processor.tokenizer.pad_token_id
        fill = [longest - len(row.ids) for row in rows]
        inputs = {
            "input_ids": torch.tensor([[pad] * n + row.ids for n, row in zip(fill, rows, strict=True)]),
            "attention_mask": torch.tensor([[0] * n + [1] * (longest - n) for n in fill]),
        }
        if conversations[0].image:
            pictures = [_picture(c) for c in conversations]
            pixels = self.processor.image_processor(images=pictures, return_tensors="pt")["pixel_values"]
            inputs["pixel_values"] = pixels.to(dtype)
        labels = torch.tensor([[-100] * n + row.labels for n, row in zip(fill, rows, strict=True)])
        asked = tuple(self.asked(c, row.spans) for c, row in zip(conversations, rows, strict=True))
        return Batch(inputs, labels, tuple(c.id for c in conversations), asked)


def _picture(conversation: Conversation) -> Image.Image:
    assert conversation.image is not None
    try:
        return Image.open(conversation.image).convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise TuneError(
            f"{conversation.image} (conversation {conversation.id}): not readable as an image ({error})"
        ) from error
