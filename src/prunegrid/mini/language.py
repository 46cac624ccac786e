"""The mini model's small language: its words, its tokenizer, and how a scene is described and asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from prunegrid.mini.scenes import COLORS, COLUMNS, ROWS, SHAPES, SIZES, Number, Scene, Thing

T = TypeVar("T")

PAD, BOS, UNK, EOS, IMAGE = "<pad>", "<s>", "<unk>", "</s>", "<image>"
LETTERS = "ABCD"
TEMPLATE = "USER: <image>\n{question} ASSISTANT:"
# A piece carries the space before it (" red"), digits stand alone: the form of byte-pair vocabularies.
PIECES = Regex(r"\n| ?[A-Za-z]+|[0-9]|[^A-Za-z0-9 \n]| ")


def words() -> list[str]:
    """The vocabulary in order of id."""
    glue = "in the image of is are there a an and at number written what many how where object objects color shape"
    glue += " yes no it Is Are What Where How Describe There The USER ASSISTANT"
    plain = [*glue.split(), *COLORS, *SHAPES, *SIZES, *ROWS, *COLUMNS, *LETTERS]
    pieces = [PAD, BOS, UNK, EOS, IMAGE, "\n", " ", *"?.:,", *"0123456789"]
    for word in plain:
        pieces += [word, f" {word}"]
    return list(dict.fromkeys(pieces))


def tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer with exact decoding; ids in the order of `words()`."""
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words())}, unk_token=UNK))
    raw.pre_tokenizer = pre_tokenizers.Split(PIECES, behavior="isolated")
    raw.decoder = decoders.Fuse()
    raw.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, words().index(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token=PAD,
        bos_token=BOS,
        unk_token=UNK,
        eos_token=EOS,
        additional_special_tokens=[IMAGE],
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )


@dataclass(frozen=True)
class Turn:
    """One question with its answer and its kind."""

    kind: str
    question: str
    answer: str


def name(thing: Thing) -> str:
    return f"{thing.color} {thing.shape}"


def fact(item: Thing | Number) -> str:
    """What a description states of one thing."""
    if isinstance(item, Number):
        return f"the number {item.text} at the {item.place}"
    return f"a {item.size} {item.color} {item.shape} at the {item.place}"


def facts(scene: Scene) -> list[str]:
    return [fact(t) for t in scene.things] + ([fact(scene.number)] if scene.number else [])


def description(scene: Scene) -> str:
    """One sentence per thing, in reading order, then the number: about 11 tokens each."""
    return " ".join(f"There is {f}." for f in facts(scene))


def caption(scene: Scene) -> str:
    """The short caption that the contrastive loss pairs with the picture."""
    parts = [f"a {name(t)}" for t in scene.things]
    if scene.number:
        parts.append(f"the number {scene.number.text}")
    return " and ".join(parts)


def unique(scene: Scene, key: str) -> list[Thing]:
    """Things whose `key` attribute no other thing of the scene shares."""
    values = [getattr(t, key) for t in scene.things]
    return [t for t, v in zip(scene.things, values, strict=True) if values.count(v) == 1]


def nameable(scene: Scene) -> list[Thing]:
    """Things that "the red circle" names without doubt."""
    names = [name(t) for t in scene.things]
    return [t for t, n in zip(scene.things, names, strict=True) if names.count(n) == 1]


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    return items[int(rng.integers(len(items)))]


def absent_pair(rng: np.random.Generator, scene: Scene, how: str) -> tuple[str, str]:
    """A colour-shape pair that no thing shows: `random`, `popular` (common pairs) or `adversarial` (both halves
    are in the picture, on different things, where the scene allows it; else one half)."""
    present = {(t.color, t.shape) for t in scene.things}
    if how == "popular":
        pool = [(c, s) for c in list(COLORS)[:3] for s in SHAPES[:3]]
    elif how == "adversarial":
        colors, shapes = {t.color for t in scene.things}, {t.shape for t in scene.things}
        pool = [(c, s) for c in COLORS if c in colors for s in SHAPES if s in shapes]
        if not set(pool) - present:
            pool = [(c, s) for c in COLORS for s in SHAPES if (c in colors) != (s in shapes)]
    else:
        pool = [(c, s) for c in COLORS for s in SHAPES]
    pool = [p for p in pool if p not in present]
    color, shape = pool[int(rng.integers(len(pool)))]
    return color, shape


def lettered(question: str, choices: Sequence[str]) -> str:
    """A question with its lettered choices, as ScienceQA and MMBench print them."""
    return "\n".join([question, *(f"{LETTERS[k]}. {c}" for k, c in enumerate(choices))])
