"""Prompts as text-aware reducers read them: which characters each token is, and what the user said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prunegrid.reduce import PromptText

IMAGE, QUESTION = "<image>", "{question}"


def prompt_texts(tokenizer: Any, template: str, questions: Sequence[str]) -> list[PromptText]:
    """One per question. `template` holds one `<image>`, which is one token of `tokenizer` (a fast one, that says where
    a token stands), and `{question}`. A tokenizer that cannot say so gives none, and a reducer that reads refuses."""
    if not tokenizer.is_fast:
        return []
    image = tokenizer.convert_tokens_to_ids(IMAGE)
    before = template.index(QUESTION)
    found = []
    for question in questions:
        text = template.format(question=question)
        encoded = tokenizer(text, return_offsets_mapping=True)
        pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        spans = tuple((int(a), int(b)) for token, (a, b) in pairs if token != image)
        start = len(template[:before].format())
        blank = text.replace(IMAGE, " " * len(IMAGE), 1)
        found.append(PromptText(blank, spans, (start, start + len(question))))
    return found
