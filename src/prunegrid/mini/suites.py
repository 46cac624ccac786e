"""The held-out suites: one per benchmark format, on scenes that training never draws, written in canonical form.

`python -m prunegrid.mini.suites OUT` writes OUT/images/*.png, OUT/scenes.jsonl (every thing with its patches) and one
jsonl per suite. A seed names the whole: the same seed writes the same bytes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from prunegrid.mini.language import LETTERS, absent_pair, facts, name
from prunegrid.mini.model import PATCH
from prunegrid.mini.questions import ASKERS, SUBTASKS, choices, claims, exists_question, yes_no
from prunegrid.mini.scenes import Scene, coverage, digit_masks, draw, sample, thing_mask

IMAGES = 700
SEED = 20_240_715  # far from every training seed: training draws from (seed, stage, step)
Row = dict[str, object]
Suite = Callable[[np.random.Generator, Sequence[Scene]], Iterable[Row]]


def key(i: int) -> str:
    return f"scene{i:04d}"


def row(i: int, suffix: str, question: str, answer: object, **more: object) -> Row:
    image = f"images/{key(i)}.png"
    return {
        "id": f"{key(i)}-{suffix}",
        "cluster": key(i),
        "image": image,
        "question": question,
        "answer": answer,
        **more,
    }


def pope(rng: np.random.Generator, scenes: Sequence[Scene]) -> Iterable[Row]:
    """Per image one present thing, shared by the three splits, and one absent thing per split."""
    for i, scene in enumerate(scenes[:320]):
        there = name(scene.things[int(rng.integers(len(scene.things)))])
        for split in ("random", "popular", "adversarial"):
            absent = " ".join(absent_pair(rng, scene, split))
            yield row(i, f"{split}-yes", exists_question(there), "yes", split=split)
            yield row(i, f"{split}-no", exists_question(absent), "no", split=split)


def mme(rng: np.random.Generator, scenes: Sequence[Scene]) -> Iterable[Row]:
    """Two questions per image, one true and one false, five sub-tasks in turn."""
    for i, scene in enumerate(scenes):
        for turn in range(len(SUBTASKS)):  # the next sub-task that this scene allows
            subtask = SUBTASKS[(i + turn) % len(SUBTASKS)]
            pair = claims(rng, scene, subtask)
            if pair:
                for truth, question in zip((True, False), pair, strict=True):
                    yield row(i, f"{subtask}-{yes_no(truth)}", question, yes_no(truth), subtask=subtask)
                break


def sqa(rng: np.random.Generator, scenes: Sequence[Scene]) -> Iterable[Row]:
    for i, scene in enumerate(scenes):
        question, options, right = _choices(rng, scene, 4)
        yield row(i, "sqa", question, right, choices=options)


def mmb(rng: np.random.Generator, scenes: Sequence[Scene]) -> Iterable[Row]:
    """Every rotation of three choices; a question counts only if all its rotations are right."""
    for i, scene in enumerate(scenes):
        question, options, right = _choices(rng, scene, 3)
        for turn in range(3):
            turned = [*options[turn:], *options[:turn]]
            answer = LETTERS[(right - turn) % 3]
            yield row(i, f"mmb{turn}", question, answer, choices=turned, group=key(i))


def _choices(rng: np.random.Generator, scene: Scene, options: int) -> tuple[str, list[str], int]:
    while True:
        made = choices(rng, scene, options)
        if made:
            return made


def textvqa(rng: np.random.Generator, scenes: Sequence[Scene]) -> Iterable[Row]:
    """Ten answers per question; up to two annotators misread one digit, as annotators do."""
    written = [(i, s) for i, s in enumerate(scenes) if s.number]
    for i, scene in written:
        assert scene.number
        answers = [scene.number.text] * 10
        for slot in range(int(rng.integers(0, 3))):
            answers[slot] = f"{scene.number.text[0]}{int(rng.integers(10))}"
        turn = ASKERS["text"](rng, scene)
        assert turn
        yield row(i, "text", turn.question, answers)


def vqa(rng: np.random.Generator, scenes: Sequence[Scene]) -> Iterable[Row]:
    """One question per image: colour, shape, count and place in turn."""
    kinds = ("color", "shape", "count", "where")
    for i, scene in enumerate(scenes):
        for turn in range(4):
            kind = kinds[(i + turn) % 4]
            asked = ASKERS[kind](rng, scene)
            if asked:
                yield row(i, kind, asked.question, [asked.answer] * 10, type=kind)
                break


def caption(rng: np.random.Generator, scenes: Sequence[Scene]) -> Iterable[Row]:
    """A description of every thing, on the first 200 images: about 12 tokens a thing."""
    for i, scene in enumerate(scenes[:200]):
        turn = ASKERS["describe"](rng, scene)
        assert turn
        yield row(i, "caption", turn.question, facts(scene))


SUITES: tuple[tuple[str, Suite], ...] = (
    ("pope", pope),
    ("mme", mme),
    ("sqa", sqa),
    ("mmb", mmb),
    ("textvqa", textvqa),
    ("vqa", vqa),
    ("caption", caption),
)


def scene_row(i: int, scene: Scene) -> Row:
    """The scene as data, with the patches that each thing and each digit covers to a tenth or more."""
    patches = [np.flatnonzero(coverage(thing_mask(t), PATCH) >= 0.1).tolist() for t in scene.things]
    digits = []
    if scene.number:
        digits = [np.flatnonzero(coverage(m, PATCH) >= 0.05).tolist() for m in digit_masks(scene.number)]
    return {"id": key(i), **asdict(scene), "thing_patches": patches, "digit_patches": digits}


def write(out: Path, images: int = IMAGES, seed: int = SEED) -> None:
    """Write the suites to `out`. More than 70 % of the scenes carry a number, so text has enough questions."""
    rng = np.random.default_rng(seed)
    # Numbers on every scene that the reading suite needs: 630 questions keep its interval under 4 points.
    scenes = [sample(rng, number=1.0 if i % 10 else 0.0) for i in range(images)]
    (out / "images").mkdir(parents=True, exist_ok=True)
    for i, scene in enumerate(tqdm(scenes, desc="scenes", unit="image")):
        draw(scene).save(out / "images" / f"{key(i)}.png", optimize=True)
    _jsonl(out / "scenes.jsonl", (scene_row(i, s) for i, s in enumerate(scenes)))
    for n, (suite, make) in enumerate(SUITES):
        _jsonl(out / f"{suite}.jsonl", make(np.random.default_rng([seed, n]), scenes))


def _jsonl(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for item in rows:
            file.write(json.dumps(item) + "\n")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=IMAGES)
    arguments = parser.parse_args(argv)
    write(arguments.out, arguments.images)


if __name__ == "__main__":
    main()
