"""Scenes are values, their masks are exact, training resumes bitwise, and a turn sees no other turn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from prunegrid.mini import batches, language, questions, scenes, suites, train
from prunegrid.mini.model import PATCHES, build
from prunegrid.mini.pointing import word_table


def some(count: int, seed: int = 3) -> list[scenes.Scene]:
    rng = np.random.default_rng(seed)
    return [scenes.sample(rng) for _ in range(count)]


def test_a_seed_draws_the_same_picture() -> None:
    first, again = (np.asarray(scenes.draw(some(1)[0])) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, np.asarray(scenes.draw(some(1, seed=4)[0])))


def test_a_mask_covers_exactly_the_pixels_that_the_thing_changes() -> None:
    for scene in some(20):
        bare = scenes.Scene((), None, scene.cluttered, scene.ground)
        for thing in scene.things:
            alone = scenes.Scene((thing,), None, scene.cluttered, scene.ground)
            changed = (np.asarray(scenes.draw(alone)) != np.asarray(scenes.draw(bare))).any(-1)
            assert not (changed & ~scenes.thing_mask(thing)).any()
            assert scenes.thing_mask(thing).sum() >= 40


def test_every_sentence_survives_the_tokenizer() -> None:
    tok, rng = language.tokenizer(), np.random.default_rng(0)
    for scene in some(30):
        for ask in questions.ASKERS.values():
            turn = ask(rng, scene)
            if turn:
                text = language.TEMPLATE.format(question=turn.question) + f" {turn.answer}"
                ids = tok(text, add_special_tokens=False).input_ids
                assert tok.unk_token_id not in ids
                assert tok.decode(ids) == text


def test_an_absent_pair_is_absent_and_an_adversarial_one_is_half_there() -> None:
    rng = np.random.default_rng(1)
    for scene in some(50):
        present = {(t.color, t.shape) for t in scene.things}
        for how in ("random", "popular", "adversarial"):
            color, shape = language.absent_pair(rng, scene, how)
            assert (color, shape) not in present
            if how == "adversarial":
                assert color in {t.color for t in scene.things} or shape in {t.shape for t in scene.things}


def test_circular_questions_keep_the_answer_under_every_rotation() -> None:
    rows = list(suites.mmb(np.random.default_rng(0), some(20)))
    by_group: dict[object, set[str]] = {}
    for row in rows:
        choices, answer = row["choices"], str(row["answer"])
        by_group.setdefault(row["group"], set()).add(choices["ABC".index(answer)])  # type: ignore[index]
    assert len(rows) == 60
    assert all(len(right) == 1 for right in by_group.values())


def test_held_out_scenes_are_not_training_scenes() -> None:
    held = np.random.default_rng(suites.SEED)
    kept = {scenes.sample(held, number=1.0 if i % 10 else 0.0).ground for i in range(50)}
    seen = {scenes.sample(np.random.default_rng([0, sum(map(ord, "language")), s])).ground for s in range(50)}
    assert not kept & seen


def test_a_turn_sees_the_prefix_and_itself_only() -> None:
    turn = torch.tensor([[0, 0, 1, 1, 2, 2, -1]])
    seen = batches.turn_mask(turn)[0, 0] == 0
    assert seen[5].tolist() == [True, True, False, False, True, True, False]
    assert seen[3].tolist() == [True, True, True, True, False, False, False]


def test_patch_labels_name_words_of_the_vocabulary() -> None:
    labels = torch.from_numpy(batches.patch_labels(some(1)[0]))
    assert labels.shape == (PATCHES, 6)
    named = word_table()[torch.arange(6), labels]
    assert (named[labels > 0] >= 0).all()


@pytest.mark.parametrize("stage", ["vision", "language"])
def test_a_training_cut_in_the_middle_ends_with_the_same_weights(tmp_path: Path, stage: str) -> None:
    def plan(name: str, steps: int) -> train.Plan:
        return train.Plan(
            name, steps=steps, size=2, rate=1e-3, warmup=2, questions=2 if name == "language" else 0
        )

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        train.train("vision", folder, plan("vision", 2))
    if stage == "vision":
        (whole / "vision.pt").unlink()
        (cut / "vision.pt").unlink()
    train.train(stage, whole, plan(stage, 4))
    with pytest.raises(KeyboardInterrupt):
        _interrupted(stage, cut, plan(stage, 4), after=2)
    train.train(stage, cut, plan(stage, 4))
    left, right = (torch.load(f / f"{stage}.pt", weights_only=True)["modules"] for f in (whole, cut))
    assert all(torch.equal(left[k], right[k]) for k in left)
    with pytest.raises(ValueError, match="seed 0, not 1: train in another folder"):
        train.train(stage, cut, replace(plan(stage, 5), seed=1))


def _interrupted(stage: str, folder: Path, plan: train.Plan, after: int) -> None:
    """Run `plan` saving every step, and break off behind step `after`."""
    stored = train._store

    def store(path: Path, modules: object, optimiser: object, step: int, seed: int) -> None:
        stored(path, modules, optimiser, step, seed)  # type: ignore[arg-type]
        if step == after:
            raise KeyboardInterrupt

    fit = train.fit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "_store", store)
        patch.setattr(train, "fit", lambda *args: fit(*args, every=1))
        train.train(stage, folder, plan)


def test_the_models_share_one_vision_tower() -> None:
    clip, llava = build()
    assert llava.model.vision_tower is clip.vision_model
