"""Where words of a question should look: the targets of the language stage's pointing loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from prunegrid.mini.batches import BIG, COLOR, COLUMN, DIGIT, PLANES, ROW, SHAPE
from prunegrid.mini.language import words
from prunegrid.mini.scenes import COLORS, COLUMNS, ROWS, SHAPES, SIZES

# What stands in a question behind a line break are options, not what is asked about.
OPTIONS = words().index("\n")


def word_table() -> Tensor:
    """int64 [6, most classes]: the word that names each label of each plane; -1 where there is none."""
    planes = {
        COLOR: list(COLORS),
        SHAPE: list(SHAPES),
        BIG: list(SIZES),
        ROW: list(ROWS),
        COLUMN: list(COLUMNS),
    }
    table = torch.full((6, max(PLANES)), -1)
    for plane, names in planes.items():
        for k, word in enumerate(names, start=1):
            table[plane, k] = words().index(f" {word}")
    for digit in range(10):
        table[DIGIT, 1 + digit] = words().index(str(digit))
    return table


def named_patches(batch: dict[str, Tensor], table: Tensor) -> Tensor:
    """bool [B, L, N]: the patches that show the colour or the shape which a word of a question names."""
    asking = _asking(batch)[..., None]
    return (_shown(batch, table, COLOR) | _shown(batch, table, SHAPE)) & asking


def digit_patches(batch: dict[str, Tensor], table: Tensor) -> Tensor:
    """bool [B, L, N]: the patches that show the digit which stands in a number of a question. A digit alone is a count
    and names nothing."""
    second = joined_digits(batch) >= 0
    written = second | F.pad(second[:, 1:], (0, 1))
    return _shown(batch, table, DIGIT) & written[..., None]


def _shown(batch: dict[str, Tensor], table: Tensor, plane: int) -> Tensor:
    words_of = table[plane][batch["labels"][..., plane]]  # [B, N], -1 where nothing lies
    return batch["ids"][:, :, None] == words_of[:, None, :]


def joined_digits(batch: dict[str, Tensor]) -> Tensor:
    """int64 [B, L]: at the second digit of a number in a question the place of its first, else -1. (Without it numbers
    among options stayed at chance: neither digit alone is the number.)"""
    digit = torch.isin(batch["ids"], torch.tensor([words().index(d) for d in "0123456789"])) & _asking(batch)
    place = torch.arange(digit.shape[1]).expand_as(digit)
    return torch.where(digit & F.pad(digit[:, :-1], (1, 0)), place - 1, -1)


def _asking(batch: dict[str, Tensor]) -> Tensor:
    return (batch["turn"] > 0) & (batch["targets"] == -100)


def asked_patches(batch: dict[str, Tensor], named: Tensor) -> Tensor:
    """bool [B, L, N]: at the position that says a turn's first word, the patches that all naming words of its question
    name ("the red circle": red and circle); none where that is empty, as behind a question about what is not there."""
    turn, naming = batch["turn"].clamp_min(0), _naming(batch)
    named = named & naming[..., None]
    turns = int(turn.max()) + 1
    place = turn[..., None].expand(-1, -1, named.shape[-1])
    hits = named.new_zeros(len(turn), turns, named.shape[-1], dtype=torch.long).scatter_add_(
        1, place, named.long()
    )
    said = torch.zeros(len(turn), turns, dtype=torch.long).scatter_add_(1, turn, naming.long())
    shown = (hits == said[..., None]) & (said[..., None] > 0)  # [B, turns, N]
    first = (batch["targets"][:, 1:] != -100) & (batch["targets"][:, :-1] == -100)
    first = F.pad(first, (0, 1))
    return shown.gather(1, place) & first[..., None]


def _naming(batch: dict[str, Tensor]) -> Tensor:
    """bool [B, L]: words of questions that name a colour or a shape, there or not; options are left out."""
    names = torch.tensor([words().index(f" {w}") for w in (*COLORS, *SHAPES)])
    turn, lines = batch["turn"].clamp_min(0), batch["ids"] == OPTIONS
    place = torch.arange(turn.shape[1]).expand_as(turn)
    start = torch.full_like(turn, turn.shape[1]).scatter_reduce(
        1, turn, place.masked_fill(~lines, turn.shape[1]), "amin"
    )
    before = place < start.gather(1, turn)
    return torch.isin(batch["ids"], names) & _asking(batch) & before
