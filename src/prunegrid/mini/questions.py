"""Questions about a scene, by kind. Each returns a Turn, or None where the scene does not allow that question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from prunegrid.mini.language import (
    LETTERS,
    Turn,
    absent_pair,
    description,
    lettered,
    name,
    nameable,
    pick,
    unique,
)
from prunegrid.mini.scenes import COLORS, COLUMNS, ROWS, SHAPES, Scene, Thing

Asker = Callable[[np.random.Generator, Scene], "Turn | None"]


def _thing(rng: np.random.Generator, things: list[Thing]) -> Thing | None:
    return pick(rng, things) if things else None


def yes_no(flag: bool) -> str:
    return "yes" if flag else "no"


def color(rng: np.random.Generator, scene: Scene) -> Turn | None:
    thing = _thing(rng, unique(scene, "shape"))
    return Turn("color", f"What color is the {thing.shape}?", thing.color) if thing else None


def shape(rng: np.random.Generator, scene: Scene) -> Turn | None:
    thing = _thing(rng, unique(scene, "color"))
    return Turn("shape", f"What shape is the {thing.color} object?", thing.shape) if thing else None


def count(rng: np.random.Generator, scene: Scene) -> Turn | None:
    return Turn("count", "How many objects are there?", str(len(scene.things)))


def where(rng: np.random.Generator, scene: Scene) -> Turn | None:
    thing = _thing(rng, nameable(scene))
    return Turn("where", f"Where is the {name(thing)}?", thing.place) if thing else None


def text(rng: np.random.Generator, scene: Scene) -> Turn | None:
    return Turn("text", "What number is written in the image?", scene.number.text) if scene.number else None


def describe(rng: np.random.Generator, scene: Scene) -> Turn | None:
    return Turn("describe", "Describe the image.", description(scene))


def exists_question(pair: str) -> str:
    return f"Is there a {pair} in the image?"


def pope(rng: np.random.Generator, scene: Scene) -> Turn | None:
    if rng.random() < 0.5:
        return Turn("pope", exists_question(name(pick(rng, scene.things))), "yes")
    how = str(rng.choice(["random", "random", "popular", "adversarial"]))
    return Turn("pope", exists_question(" ".join(absent_pair(rng, scene, how))), "no")


def _other(rng: np.random.Generator, options: list[str], truth: str) -> str:
    return str(pick(rng, [o for o in options if o != truth]))


def _both(question: str, truth: str, falsehood: str) -> tuple[str, str]:
    return question.format(truth), question.format(falsehood)


def claims(rng: np.random.Generator, scene: Scene, subtask: str) -> tuple[str, str] | None:
    """The same question about a truth and about a falsehood (MME's pair), or None."""
    if subtask == "existence":
        shapes = {t.shape for t in scene.things}
        absent = [s for s in SHAPES if s not in shapes]
        return exists_question(str(pick(rng, sorted(shapes)))), exists_question(str(pick(rng, absent)))
    if subtask == "count":
        n = len(scene.things)
        wrong = int(_other(rng, [str(k) for k in range(max(1, n - 2), n + 3)], str(n)))
        return f"Are there {n} objects in the image?", f"Are there {wrong} objects in the image?"
    if subtask == "ocr":
        if not scene.number:
            return None
        digits = scene.number.text
        wrong_text = _other(
            rng, [f"{d}{digits[1]}" for d in range(10)] + [f"{digits[0]}{d}" for d in range(10)], digits
        )
        return _both("Is the number {} written in the image?", digits, wrong_text)
    if subtask == "position":
        thing = _thing(rng, nameable(scene))
        places = [f"{r} {c}" for r in ROWS for c in COLUMNS]
        if not thing:
            return None
        return _both(f"Is the {name(thing)} at the {{}}?", thing.place, _other(rng, places, thing.place))
    if subtask == "color":
        thing = _thing(rng, unique(scene, "shape"))
        if not thing:
            return None
        return _both(f"Is the {thing.shape} {{}}?", thing.color, _other(rng, list(COLORS), thing.color))
    raise ValueError(f"unknown MME sub-task {subtask!r}; known: {', '.join(SUBTASKS)}")


SUBTASKS = ("existence", "count", "position", "color", "ocr")


def mme(rng: np.random.Generator, scene: Scene) -> Turn | None:
    subtask = str(rng.choice(SUBTASKS))
    pair = claims(rng, scene, subtask)
    if pair is None:
        return None
    truth = int(rng.integers(2))
    return Turn(f"mme_{subtask}", pair[1 - truth], yes_no(truth == 1))


def choices(rng: np.random.Generator, scene: Scene, options: int) -> tuple[str, list[str], int] | None:
    """A question with `options` shuffled choices and the index of the right one, or None."""
    turn = (color, shape, count, text)[int(rng.integers(4))](rng, scene)
    if turn is None:
        return None
    pools: Mapping[str, list[str]] = {
        "color": list(COLORS),
        "shape": list(SHAPES),
        "count": [str(k) for k in range(2, 7)],
        "text": [f"{k:02d}" for k in range(100)],
    }
    wrong = [o for o in pools[turn.kind] if o != turn.answer]
    picked = [wrong[int(k)] for k in rng.permutation(len(wrong))[: options - 1]]
    right = int(rng.integers(options))
    return turn.question, [*picked[:right], turn.answer, *picked[right:]], right


def choice(rng: np.random.Generator, scene: Scene) -> Turn | None:
    made = choices(rng, scene, int(rng.integers(2, 5)))
    if made is None:
        return None
    question, options, right = made
    return Turn("choice", lettered(question, options), LETTERS[right])


ASKERS: Mapping[str, Asker] = MappingProxyType(
    {
        "color": color,
        "shape": shape,
        "count": count,
        "where": where,
        "text": text,
        "pope": pope,
        "mme": mme,
        "choice": choice,
        "describe": describe,
    }
)
