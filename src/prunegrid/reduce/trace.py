"""What a reduction did, in plain integers: the input of the cost model and of the drawings. No times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor


@dataclass
class Trace:
    """One row per sample everywhere; a sample's row does not depend on what it was batched with.

    embedded[b]: patches that the ViT embeds. vision[b][l]: tokens (CLS included) entering ViT layer l.
    vision_mlp[b][l]: entering its MLP; empty unless a method prunes between attention and MLP.
    projector[b]: tokens entering the projector (where a module stands in for it: those that this one hands to it).
    prompt[b][l]: tokens (text included) entering LLM layer l at prefill. visual[b][l]: the visual ones.
    cache[b][l]: KV length of LLM layer l once sample b's last token is made (mean over heads, rounded).
    new_tokens[b]: tokens generated, with the first end-of-sequence. Without generation both are empty.
    held[b][l]: KV length of LLM layer l when prefill is over; empty where no cache is ever cut.
    kept[place][b]: patch ids that survive there, in output order (position order in the language model),
    -1 = a new token. members[b]: where tokens are mixed, per token of the last of these places the patches in it, its
    own one too; empty where all tokens are single patches. cached[b]: where prefill ends with an eviction, per patch
    the percentage of (LLM layer, KV head) pairs that still hold it then. notes[b]: name -> number.
    words[b]: words of the prompt that a text-aware method went by; empty where it went by none.
    """

    embedded: list[int] = field(default_factory=list)
    vision: list[list[int]] = field(default_factory=list)
    vision_mlp: list[list[int]] = field(default_factory=list)
    projector: list[int] = field(default_factory=list)
    prompt: list[list[int]] = field(default_factory=list)
    visual: list[list[int]] = field(default_factory=list)
    cache: list[list[int]] = field(default_factory=list)
    held: list[list[int]] = field(default_factory=list)
    new_tokens: list[int] = field(default_factory=list)
    kept: dict[str, list[list[int]]] = field(default_factory=dict)
    members: list[list[list[int]]] = field(default_factory=list)
    cached: list[list[int]] = field(default_factory=list)
    notes: list[dict[str, float]] = field(default_factory=list)
    words: list[list[str]] = field(default_factory=list)

    def note(self, notes: Mapping[str, Tensor], words: Sequence[Sequence[str]] = ()) -> None:
        """Add reducers' notes, name -> [B], and words."""
        self.words = [list(mine) for mine in words] or self.words
        for name, values in notes.items():
            for row, value in zip(self.notes, values.tolist(), strict=True):
                row[name] = value

    def sample(self, b: int) -> dict[str, Any]:
        """Row b of everything."""
        row: dict[str, Any] = {}
        for name in (f.name for f in fields(self)):  # asdict copies the whole batch for each of its rows
            value = getattr(self, name)
            if name == "kept":
                row[name] = {place: rows[b] for place, rows in value.items()}
            elif value:
                row[name] = value[b]
        return row
