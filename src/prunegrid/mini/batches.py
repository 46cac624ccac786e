"""Training batches for both stages, each a pure function of (seed, stage, step): a resumed run sees the same pictures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset
from transformers import PreTrainedTokenizerFast
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from prunegrid.mini.language import EOS, IMAGE, LETTERS, TEMPLATE, Turn, caption, tokenizer, words
from prunegrid.mini.model import PATCH, PATCHES, SIDE
from prunegrid.mini.questions import ASKERS
from prunegrid.mini.scenes import (
    COLORS,
    SHAPES,
    SIZES,
    Scene,
    coverage,
    digit_masks,
    draw,
    sample,
    thing_mask,
)

COLOR, SHAPE, BIG, ROW, COLUMN, DIGIT = range(6)  # label planes; 0 = nothing there
PLANES = (len(COLORS) + 1, len(SHAPES) + 1, len(SIZES) + 1, 4, 4, 11)  # classes of each plane


@dataclass(frozen=True)
class Phase:
    """What is asked from step `start` on: pictures of up to `most` things, a description first with probability
    `describe`, and questions drawn by the weights of `mix`."""

    start: int
    most: int
    describe: float
    mix: Mapping[str, int]


def mix(**weights: int) -> Mapping[str, int]:
    return MappingProxyType(weights)


# Counting, reading, describing and the shape of a colour come early. The colour of a shape, yes/no and letters stay on a
# plateau for long: they get time of their own, on pictures of few things, where a look-up is worth most.
PHASES = (
    Phase(0, 6, 0.5, mix(color=3, shape=2, count=1, where=2, text=3, pope=3, mme=2, choice=3)),
    Phase(500, 6, 0.15, mix(color=4, shape=3, count=1, where=3, text=2, pope=4, mme=3, choice=3)),
    Phase(1290, 6, 0.15, mix(color=5, shape=2, count=1, where=2, text=1, pope=7, mme=5, choice=5)),
    Phase(1600, 3, 0.05, mix(color=12, shape=2, count=1, where=2, text=1, pope=16, mme=8, choice=8)),
    Phase(2700, 6, 0.15, mix(color=4, shape=2, count=1, where=2, text=2, pope=7, mme=6, choice=12)),
    Phase(3160, 6, 0.15, mix(color=3, shape=3, count=1, where=2, text=2, pope=5, mme=6, choice=16)),
)
KINDS = tuple(ASKERS)


def pixels(scenes: list[Scene]) -> Tensor:
    """[B, 3, SIZE, SIZE], normalised as the processor does."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    raw = torch.from_numpy(np.stack([np.asarray(draw(s)) for s in scenes]))
    return (raw.permute(0, 3, 1, 2).float() / 255 - mean) / std


def patch_labels(scene: Scene) -> np.ndarray:
    """int64 [PATCHES, 6]: what lies on each patch (its colour, shape, size, row and column of its cell, digit)."""
    labels = np.zeros((SIDE, SIDE, 6), np.int64)
    best = np.full((SIDE, SIDE), 0.12)
    for thing in scene.things:
        share = coverage(thing_mask(thing), PATCH)
        here = share > best
        labels[here, :5] = (
            1 + list(COLORS).index(thing.color),
            1 + SHAPES.index(thing.shape),
            1 + SIZES.index(thing.size),
            1 + thing.row,
            1 + thing.column,
        )
        best = np.maximum(best, share)
    if scene.number:
        ink = np.stack([coverage(m, PATCH) for m in digit_masks(scene.number)])
        which, share = ink.argmax(0), ink.max(0)
        digits = np.array([int(d) for d in scene.number.text])
        here = share > 0.05
        labels[here, DIGIT] = 1 + digits[which[here]]
        labels[here, ROW], labels[here, COLUMN] = 1 + scene.number.row, 1 + scene.number.column
    return labels.reshape(PATCHES, 6)


@dataclass
class Batches(IterableDataset):
    """Endless batches from step `start` on. `questions` 0 = vision stage only (no turns)."""

    seed: int
    stage: str
    size: int
    start: int = 0
    questions: int = 0
    ramp: int = 0  # steps over which the number of things rises from 3 to 6
    tok: PreTrainedTokenizerFast = field(default_factory=tokenizer)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        info = torch.utils.data.get_worker_info()
        workers, mine = (info.num_workers, info.id) if info else (1, 0)
        torch.set_num_threads(1)
        step = self.start + mine
        while True:
            yield self.batch(step)
            step += workers

    def batch(self, step: int) -> dict[str, Tensor]:
        """`pixels` [B, 3, S, S], `labels` [B, N, 6], `caption` [B, T] and, with questions, `ids`, `targets`,
        `positions`, `turn` (0 = prefix, k = turn k, -1 = padding), `kind` (index into KINDS, of a word of an answer;
        else -1), `option` (where a letter is about to be said: the place of the right option's last word; else -1) and
        `letter` (at the last word of every option: the place of its letter; else -1), each [B, L]."""
        rng = np.random.default_rng([self.seed, sum(map(ord, self.stage)), step])
        phase = [p for p in PHASES if p.start <= step][-1]
        most = phase.most if self.questions and step >= self.ramp else 6
        if self.questions and step < self.ramp:
            most = 3 + round(3 * step / self.ramp)
        scenes = [sample(rng, most=most) for _ in range(self.size)]
        out = {
            "pixels": pixels(scenes),
            "labels": torch.from_numpy(np.stack([patch_labels(s) for s in scenes])),
            "caption": self._pad([[*self.tok(caption(s)).input_ids, self.eos] for s in scenes], 0),
        }
        if self.questions:
            rows = [self._conversation(rng, s, phase) for s in scenes]
            for key, fill in (
                ("ids", 0),
                ("targets", -100),
                ("positions", 0),
                ("turn", -1),
                ("kind", -1),
                ("option", -1),
                ("letter", -1),
            ):
                out[key] = self._pad([r[key] for r in rows], fill)
        return out

    @property
    def eos(self) -> int:
        return words().index(EOS)

    @staticmethod
    def _pad(rows: list[list[int]], fill: int) -> Tensor:
        longest = max(map(len, rows))
        return torch.tensor([r + [fill] * (longest - len(r)) for r in rows])

    def _turns(self, rng: np.random.Generator, scene: Scene, phase: Phase) -> list[Turn]:
        kinds, weights = list(phase.mix), np.array(list(phase.mix.values()), float)
        turns = [t for t in (ASKERS["describe"](rng, scene),) if t and rng.random() < phase.describe]
        while len(turns) < self.questions:
            turn = ASKERS[str(rng.choice(kinds, p=weights / weights.sum()))](rng, scene)
            if turn:
                turns.append(turn)
        return turns

    def _conversation(self, rng: np.random.Generator, scene: Scene, phase: Phase) -> dict[str, list[int]]:
        """Independent turns behind one picture: each sees the prefix and itself, at the positions that it would
        have alone. (Turns that see each other are answered by copying, and the picture is ignored.)"""
        head, tail = TEMPLATE.split("{question}")
        image = words().index(IMAGE)
        prefix: list[int] = []
        for token in self.tok(head).input_ids:
            prefix += [token] * (PATCHES if token == image else 1)
        row = {"ids": prefix, "targets": [-100] * len(prefix), "positions": list(range(len(prefix)))}
        row |= {"turn": [0] * len(prefix)} | {key: [-1] * len(prefix) for key in ("kind", "option", "letter")}
        for k, turn in enumerate(self._turns(rng, scene, phase), start=1):
            asked = self.tok(turn.question + tail, add_special_tokens=False).input_ids
            said = [*self.tok(f" {turn.answer}", add_special_tokens=False).input_ids, self.eos]
            row["ids"] = row["ids"] + asked + said
            row["targets"] = row["targets"] + [-100] * len(asked) + said
            row["positions"] = row["positions"] + [len(prefix) + i for i in range(len(asked) + len(said))]
            row["turn"] = row["turn"] + [k] * (len(asked) + len(said))
            kind = KINDS.index(turn.kind.split("_")[0])
            row["kind"] = row["kind"] + [-1] * len(asked) + [kind] * (len(said) - 1) + [-1]
            ends = _options(asked) if turn.kind == "choice" else {}
            start, free = len(row["letter"]), [-1] * (len(asked) + len(said))
            row["option"], row["letter"] = row["option"] + free, row["letter"] + free
            for letter, (place, end) in ends.items():
                row["letter"][start + end] = start + place
                if letter == turn.answer:
                    row["option"][start + len(asked) - 1] = start + end
        return row


def _options(asked: list[int]) -> dict[str, tuple[int, int]]:
    """Of a lettered question: letter -> where it stands, and where the last word of its option does."""
    dot, line, end = (words().index(w) for w in (".", "\n", " ASSISTANT"))
    letters = {words().index(letter): letter for letter in LETTERS}
    starts = [i for i, (a, b) in enumerate(itertools.pairwise(asked)) if a in letters and b == dot]
    ends = [next(k for k in range(i, len(asked)) if asked[k] in (line, end)) - 1 for i in starts]
    return {letters[asked[i]]: (i, k) for i, k in zip(starts, ends, strict=True)}


def turn_mask(turn: Tensor) -> Tensor:
    """Additive mask [B, 1, L, L]: a token sees earlier tokens of the prefix and of its own turn."""
    length = turn.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    seen = (turn[:, None, :] == 0) | (turn[:, None, :] == turn[:, :, None])
    allowed = (seen & earlier)[:, None]
    return torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
