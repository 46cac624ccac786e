"""A training's state on disk: one process at it, a save that fails, and files that are none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from prunegrid.tune.errors import TuneError
from prunegrid.tune.state import State

from .lab import Lab, Watch


def test_one_process_at_a_time_and_nothing_is_left_of_a_save_that_was_killed(tmp_path: Path) -> None:
    state = State(tmp_path, "f")
    (tmp_path / "state.1.tmp").write_bytes(b"half")
    with state.alone():
        assert not list(tmp_path.glob("*.tmp"))
        with (
            pytest.raises(TuneError, match="another process is at this training"),
            State(tmp_path, "f").alone(),
        ):
            pass
    with state.alone():
        pass


def test_a_full_disk_is_named_and_leaves_the_save_before(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuner, state = lab.tuner(Watch(), steps=2), State(tmp_path, "f")
    state.save(1, 1.0, tuner.weights, tuner.optimiser)
    before = state.file.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TuneError, match=r"state.pt could not be written .*No space left"):
        state.save(2, 2.0, tuner.weights, tuner.optimiser)
    assert state.file.read_bytes() == before and not list(tmp_path.glob("*.tmp"))


def test_a_state_of_another_kind_is_named(lab: Lab, tmp_path: Path) -> None:
    state = State(tmp_path, "f")
    torch.save({"a": 1}, state.file)
    tuner = lab.tuner(Watch(), steps=2)
    with pytest.raises(TuneError, match=r"cannot be read .* delete it"):
        state.resume(tuner.weights, tuner.optimiser, "cpu")
