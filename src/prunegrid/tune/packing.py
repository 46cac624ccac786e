"""Conversations -> token ids, labels and pictures, in the form that the same model is asked in when it is evaluated."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    labels [B, T]: -100 where nothing is to be learnt; ids of the conversations; asked: their first questions."""

    inputs: Mapping[str, Tensor]
    labels: Tensor
    ids: tuple[str, ...]
    asked: tuple[PromptText, ...]


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

    def encode(self, conversation: Conversation) -> tuple[list[int], list[int], bool]:
        """(ids, labels, whether it was cut): every placeholder stands for `tokens` positions."""
        text, spans = self.text(conversation)
        made = self.processor.tokenizer(text, return_offsets_mapping=True)
        picture = self.processor.tokenizer.convert_tokens_to_ids(IMAGE)
        ids: list[int] = []
        labels: list[int] = []
        for token, (start, end) in zip(made["input_ids"], made["offset_mapping"], strict=True):
            count = self.tokens if token == picture else 1
            learnt = end > start and any(a <= start and end <= b for a, b in spans)
            ids += [token] * count
            labels += [token if learnt else -100] * count
        return ids[: self.max_length], labels[: self.max_length], len(ids) > self.max_length

    def check(self, conversations: Sequence[Conversation], faults: Faults) -> list[Conversation]:
        """Those that have an answer left after the cut. Longer ones than `max_length` are counted among the faults."""
        kept = []
        quick = len(conversations) < 10_000
        for conversation in tqdm(conversations, desc="check", unit="conversation", disable=quick):
            text, _ = self.text(conversation)
            room = self.max_length - (self.tokens if conversation.image else 0)
            if len(text) <= room:  # a token is at least a character
                kept.append(conversation)
                continue
            _, labels, cut = self.encode(conversation)
            if cut:
                faults.add("too long", conversation.id)
            if any(label >= 0 for label in labels):
                kept.append(conversation)
        if not kept:
            raise TuneError(f"no conversation is left of {faults}")
        return kept

    def pack(self, conversations: Sequence[Conversation], dtype: torch.dtype) -> Batch:
        """One batch of one modality. Raises TuneError by name where a picture cannot be read."""
        rows = [self.encode(c)[:2] for c in conversations]
        longest, pad = max(len(ids) for ids, _ in rows), self.processor.tokenizer.pad_token_id
        inputs = {
            "input_ids": torch.tensor([[pad] * (longest - len(ids)) + ids for ids, _ in rows]),
            "attention_mask": torch.tensor([[0] * (longest - len(i)) + [1] * len(i) for i, _ in rows]),
        }
        if conversations[0].image:
            pictures = [_picture(c) for c in conversations]
            pixels = self.processor.image_processor(images=pictures, return_tensors="pt")["pixel_values"]
            inputs["pixel_values"] = pixels.to(dtype)
        labels = torch.tensor([[-100] * (longest - len(said)) + said for _, said in rows])
        asked = tuple(PromptText(c.turns[0][0]) for c in conversations)
        return Batch(inputs, labels, tuple(c.id for c in conversations), asked)


def _picture(conversation: Conversation) -> Image.Image:
    assert conversation.image is not None
    try:
        return Image.open(conversation.image).convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise TuneError(
            f"{conversation.image} (conversation {conversation.id}): not readable as an image ({error})"
        ) from error
