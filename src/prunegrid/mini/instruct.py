"""Instruction data for the mini model in LLaVA's conversation format, on scenes of their own.

`python -m prunegrid.mini.instruct OUT` writes OUT/conversations.json and OUT/images/*.png. A seed names the whole: the
same seed writes the same bytes. One conversation in ten has no picture and asks about a description.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from prunegrid.mini.language import Turn, description, unique
from prunegrid.mini.questions import ASKERS
from prunegrid.mini.scenes import Scene, draw, sample

COUNT = 2000
SEED = 90_210_401  # no seed of the model's training or of the suites
TURNS = (1, 1, 1, 2, 3)  # most conversations have one turn: so the suites ask


def turns(rng: np.random.Generator, scene: Scene) -> list[Turn]:
    """Questions of different kinds about a scene."""
    wanted, made = int(rng.choice(TURNS)), list[Turn]()
    for kind in rng.permutation(sorted(ASKERS)):
        turn = ASKERS[str(kind)](rng, scene)
        if turn and len(made) < wanted:
            made.append(turn)
    return made


def reading(rng: np.random.Generator, scene: Scene) -> Turn | None:
    """A question that the description in front of it answers."""
    things = unique(scene, "shape")
    if not things:
        return None
    thing = things[int(rng.integers(len(things)))]
    return Turn("reading", f"{description(scene)}\nWhat color is the {thing.shape}?", thing.color)


def conversation(key: str, said: list[Turn], image: str | None) -> dict[str, object]:
    """One entry of the file."""
    lines = []
    for number, turn in enumerate(said):
        shown = "<image>\n" if image and number == 0 else ""
        lines += [
            {"from": "human", "value": shown + turn.question},
            {"from": "gpt", "value": turn.answer},
        ]
    row: dict[str, object] = {"id": key, "conversations": lines}
    return {**row, "image": image} if image else row


def draws(count: int, seed: int) -> Iterator[tuple[dict[str, object], Scene | None]]:
    """(entry, the scene to draw, if any)."""
    rng = np.random.default_rng([seed, 7])
    for i in range(count):
        key, scene = f"instruct{i:05d}", sample(rng)
        read = reading(rng, scene) if i % 10 == 9 else None
        if read:
            yield conversation(key, [read], None), None
        else:
            yield conversation(key, turns(rng, scene), f"{key}.png"), scene


def write(out: Path, count: int = COUNT, seed: int = SEED) -> None:
    """Write the pictures, then the conversations."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for row, scene in tqdm(draws(count, seed), total=count, desc="instruct", unit="conversation"):
        rows.append(row)
        if scene:
            draw(scene).save(out / "images" / str(row["image"]))
    (out / "conversations.json").write_text(json.dumps(rows), encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=COUNT)
    arguments = parser.parse_args(argv)
    write(arguments.out, arguments.count)


if __name__ == "__main__":
    main()
