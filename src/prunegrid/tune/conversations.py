"""LLaVA's conversation files (llava_v1_5_mix665k.json and its like): read and checked before anything is loaded.

A file holds a list of {"id", "image" (absent for text alone), "conversations": [{"from": "human" | "gpt", "value"}]};
`<image>` stands once in the first question of a conversation with a picture.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from prunegrid.tune.errors import TuneError

IMAGE = "<image>"
ROLES = ("human", "gpt")


@dataclass(frozen=True)
class Conversation:
    """turns: (question, answer) pairs; the picture's placeholder is taken out of the first question."""

    id: str
    image: Path | None
    turns: tuple[tuple[str, str], ...]

    @property
    def words(self) -> int:
        """Its length as LLaVA's sampler counts it: words, before anything is tokenised."""
        return sum(len(text.split()) for turn in self.turns for text in turn)


@dataclass
class Faults:
    """Conversations that cannot be used as they are: kind -> their ids. `read`: all that the file holds."""

    read: int = 0
    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, who: str) -> None:
        self.found.setdefault(kind, []).append(who)

    @property
    def count(self) -> int:
        return sum(map(len, self.found.values()))

    def counts(self) -> dict[str, int]:
        return {"read": self.read, **{kind: len(ids) for kind, ids in self.found.items()}}

    def __str__(self) -> str:
        parts = [f"{len(ids)} {kind} ({', '.join(ids[:3])})" for kind, ids in self.found.items()]
        return f"{self.read} conversations read, {'; '.join(parts) or 'none with a fault'}"

    def check(self, limit: float, file: Path) -> None:
        """Raise TuneError if more than the share `limit` of the conversations have a fault."""
        if self.count > limit * self.read:
            raise TuneError(
                f"{file}: {self}; that is more than faults={limit:g} of them: mend the data, or raise `faults`"
            )


def read(file: Path, images: Path) -> tuple[list[Conversation], Faults]:
    """The usable conversations of a file, in its order, and what was wrong with the others.

    images: the folder that the file's picture paths start from. Raises TuneError if the file is no list.
    """
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TuneError(f"{file} is missing: fetch or make the training data first") from error
    except ValueError as error:
        raise TuneError(f"{file} is cut or broken ({error}); fetch it again") from error
    if not isinstance(rows, list) or not rows:
        raise TuneError(f"{file} must hold a list of conversations in LLaVA's format")
    faults, made = Faults(read=len(rows)), []
    for number, row in enumerate(rows):
        who = str(row.get("id", number)) if isinstance(row, dict) else str(number)
        try:
            conversation = _conversation(who, row, images)
        except (KeyError, TypeError, ValueError, AttributeError):
            faults.add("broken", who)
            continue
        if conversation.image is not None and not conversation.image.is_file():
            faults.add("without its picture", who)
            continue
        made.append(conversation)
    return made, faults


def _conversation(who: str, row: dict[str, Any], images: Path) -> Conversation:
    turns = tuple(_turns(row["conversations"]))
    if not turns:
        raise ValueError("nothing is said")
    text = "".join(part for turn in turns for part in turn)
    shown = row.get("image") is not None
    if text.count(IMAGE) != int(shown) or (shown and IMAGE not in turns[0][0]):
        raise ValueError("one placeholder in the first question, and a picture, or neither")
    if not shown:
        return Conversation(who, None, turns)
    path = PurePosixPath(row["image"])
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("a picture outside its folder")
    first = turns[0][0].replace(IMAGE, "").strip()
    return Conversation(who, images / path, ((first, turns[0][1]), *turns[1:]))


def _turns(said: Sequence[dict[str, str]]) -> Iterator[tuple[str, str]]:
    """Questions with their answers. As LLaVA does, a first line that is not the human's is left out."""
    if said and said[0]["from"] != ROLES[0]:
        said = said[1:]
    if len(said) % 2:
        raise ValueError("a question without an answer")
    for question, answer in zip(said[::2], said[1::2], strict=True):
        if (question["from"], answer["from"]) != ROLES or not answer["value"].strip():
            raise ValueError("human and gpt must take turns, and gpt must answer")
        yield question["value"], answer["value"]
