"""A loss that a reducer brings for its own weights: weighted by the recipe, written down, and gone with its weight."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from prunegrid.reduce.methods.crossget_tokens import CrossGETTokens
from prunegrid.tune.errors import TuneError
from prunegrid.tune.loop import Tuner
from prunegrid.tune.recipe import Recipe
from prunegrid.tune.state import State, Stop

from .lab import Lab

CROSSING = CrossGETTokens(8, untrained=True)
PLAIN = {"dropout": 0.0, "clip": 1e9}


@dataclass(frozen=True)
class Silent(CrossGETTokens):
    """The same tokens, without their loss."""

    def loss(self, state: Any, project: Callable[[Tensor], Tensor]) -> None:
        return None


@dataclass(frozen=True)
class Lost(CrossGETTokens):
    def loss(self, state: Any, project: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.tensor(float("inf"))


def trained(tuner: Tuner, folder: Path) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    state = State(folder, "f")
    tuner.run(state, Stop(), show=False)
    rows = [json.loads(line) for line in state.metrics.read_text(encoding="utf-8").splitlines()]
    return {n: w.detach().clone() for n, w in tuner.weights.items()}, rows


def gradients(tuner: Tuner) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Of the first step, whose rate is 0."""
    row = tuner.step(0)
    assert row is not None
    return {n: torch.zeros_like(w) if w.grad is None else w.grad for n, w in tuner.weights.items()}, row


def test_without_weight_it_is_as_if_it_were_not_there(lab: Lab, tmp_path: Path) -> None:
    off, rows = trained(lab.tuner(CROSSING, own_loss_weight=0.0), tmp_path / "off")
    silent, quiet = trained(lab.tuner(Silent(8, untrained=True), own_loss_weight=0.5), tmp_path / "silent")
    on, _ = trained(lab.tuner(CROSSING, own_loss_weight=0.5), tmp_path / "on")
    assert off.keys() == on.keys() and all(torch.equal(off[n], silent[n]) for n in off)
    assert not torch.equal(on["reducer.text"], off["reducer.text"])
    assert any("own_loss" in row for row in rows) and not any("own_loss" in row for row in quiet)


def test_it_is_written_down_live_beside_the_loss_of_the_answers(lab: Lab, tmp_path: Path) -> None:
    """Before its weight; a step without pictures has none."""
    tuner = lab.tuner(CROSSING, steps=3, **PLAIN)
    first = [
        tuner.forward(lab.packer().pack([lab.ten()[i] for i in micro], torch.float32))
        for micro in tuner.order.micros(0)
    ]
    own = [made.own.item() for made in first if made.own is not None]
    _, rows = trained(tuner, tmp_path)
    assert rows[0]["own_loss"] == pytest.approx(sum(own) / len(own)) and own[0] > 0
    assert rows[0]["loss"] == pytest.approx(sum(made.answers.item() for made in first) / len(first))
    assert [("own_loss" in row) == (row["visual"] > 0) for row in rows] == [True] * 3


def test_gradients_are_the_sum_with_its_weight(lab: Lab) -> None:
    made = {w: gradients(lab.tuner(CROSSING, own_loss_weight=w, **PLAIN)) for w in (0.0, 0.25, 1.0)}
    without, some, all_of_it = (made[w][0] for w in (0.0, 0.25, 1.0))
    for name in ("reducer.image", "reducer.text"):
        own = all_of_it[name] - without[name]
        assert all(bool(row.abs().max() > 0) for row in own)
        torch.testing.assert_close(some[name] - without[name], own / 4, rtol=1e-2, atol=1e-7)
    others = [n for n in without if not n.startswith("reducer.")]
    assert others and all(torch.equal(without[n], all_of_it[n]) for n in others)
    assert len({row["loss"] for _, row in made.values()}) == 1


def test_it_trains_in_bfloat16_and_with_checkpointing(lab: Lab, tmp_path: Path) -> None:
    plain, _ = trained(lab.tuner(CROSSING, checkpointing=False), tmp_path / "plain")
    saving, _ = trained(lab.tuner(CROSSING, checkpointing=True), tmp_path / "saving")
    for name, weight in plain.items():
        torch.testing.assert_close(saving[name], weight, rtol=1e-4, atol=1e-5)
    half, rows = trained(lab.tuner(CROSSING, dtype="bfloat16"), tmp_path / "half")
    assert all(w.isfinite().all() and w.dtype == torch.float32 for w in half.values())
    assert any(row.get("own_loss", 0) > 0 for row in rows)


def test_one_that_is_no_number_or_has_no_weight_to_be_is_refused(lab: Lab) -> None:
    with pytest.raises(TuneError, match="the loss is inf at step 1"):
        lab.tuner(Lost(8, untrained=True)).step(0)
    with pytest.raises(ValueError, match="own_loss_weight=-1 must be at least 0"):
        Recipe("lora", rate=0.1, own_loss_weight=-1)
