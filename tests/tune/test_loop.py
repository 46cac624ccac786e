"""Training: interrupted = uninterrupted, tokens as at inference, and the parts that a recipe names are what changes."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from prunegrid.reduce import ReducedVLM, Reducer
from prunegrid.reduce.methods.blind import Blind
from prunegrid.reduce.methods.visionzip import VisionZip
from prunegrid.tune.errors import TuneError
from prunegrid.tune.loop import Tuner
from prunegrid.tune.state import EXIT_CODE, Interrupted, State, Stop, listening

from .lab import TOKENS, Lab, Watch


def run(tuner: Tuner, folder: Path, stop: Stop | None = None) -> dict[str, Tensor]:
    tuner.run(State(folder, "f"), stop or Stop(), show=False)
    return {n: w.detach().clone() for n, w in tuner.weights.items()}


class After(Stop):
    """Asks to stop when it has been looked at `looks` times: inside a step or after one."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    @property
    def asked(self) -> bool:  # type: ignore[override]
        self.looks -= 1
        return self.looks < 0

    @asked.setter
    def asked(self, value: bool) -> None: ...


def test_an_interrupted_run_ends_with_the_same_bits(lab: Lab, tmp_path: Path) -> None:
    """Dropout is on, batches are shuffled, a step has two forward passes: stopped before each of them in turn."""
    want = run(lab.tuner(Watch()), tmp_path / "whole")
    looked, stops = 0, 0
    while True:
        try:
            got = run(lab.tuner(Watch()), tmp_path / "parts", After(looked % 5))
            break
        except Interrupted as stopped:
            assert stopped.code == EXIT_CODE
            looked, stops = looked + 1, stops + 1
    assert stops >= 4
    assert want.keys() == got.keys() and all(torch.equal(want[n], got[n]) for n in want)
    rows = [State(tmp_path / p, "f").metrics.read_text().splitlines() for p in ("whole", "parts")]
    assert len(rows[0]) == len(rows[1]) == 4


def test_what_is_lost_since_the_last_save_is_done_again(lab: Lab, tmp_path: Path) -> None:
    """Killed without a word after two more steps: the rows and the weights are those of one run."""
    tuner = lab.tuner(Watch())
    state = State(tmp_path, "f")
    state.resume(tuner.weights, tuner.optimiser, "cpu")
    for step in range(3):
        row = tuner.step(step)
        assert row is not None
        state.log({**row, "step": step + 1})
        if step == 0:
            state.save(1, 1.0, tuner.weights, tuner.optimiser)
    with state.metrics.open("a") as file:
        file.write('{"loss": 1')
    got = run(lab.tuner(Watch()), tmp_path)
    assert [eval(line)["step"] for line in state.metrics.read_text().splitlines()] == [1, 2, 3, 4]
    want = run(lab.tuner(Watch()), tmp_path / "whole")
    assert all(torch.equal(want[n], got[n]) for n in want)


@pytest.mark.parametrize(("minutes", "saved"), [(0.0, [1, 2, 3, 4]), (60.0, [4])])
def test_the_state_is_saved_every_so_many_minutes(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: float, saved: list[int]
) -> None:
    real, seen = State.save, list[int]()

    def save(self: State, step: int, *rest: Any) -> None:
        seen.append(step)
        real(self, step, *rest)

    monkeypatch.setattr(State, "save", save)
    lab.tuner(Watch()).run(State(tmp_path, "f"), Stop(), minutes, show=False)
    assert seen == saved


def test_a_state_of_something_else_is_set_aside(lab: Lab, tmp_path: Path) -> None:
    run(lab.tuner(Watch(), steps=2), tmp_path)
    tuner = lab.tuner(Watch())
    assert State(tmp_path, "other").resume(tuner.weights, tuner.optimiser, "cpu") == (0, 0.0)
    assert [p.name for p in tmp_path.glob("*.old")] == ["state.2.old"]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM])
def test_a_signal_asks_and_does_not_kill(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with listening() as stop:
        assert not stop.asked
        os.kill(os.getpid(), number)
        assert stop.asked
    assert signal.getsignal(number) == before


TRAINED = {
    "projector": {"multi_modal_projector"},
    "lora": {"multi_modal_projector", "lora_A", "lora_B"},
    "full": {"multi_modal_projector", "language_model", "lm_head"},
}


@pytest.mark.parametrize("kind", TRAINED)
def test_a_recipe_trains_what_it_names(lab: Lab, tmp_path: Path, kind: str) -> None:
    tuner = lab.tuner(Watch(), kind=kind, steps=2, warmup=0.0)
    before = {n: p.detach().clone() for n, p in tuner.model.named_parameters()}
    run(tuner, tmp_path)
    changed = {n for n, p in tuner.model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == set(tuner.weights)
    assert all(any(part in n for part in TRAINED[kind]) for n in changed)
    assert all(any(part in n for n in changed) for part in TRAINED[kind])
    assert not any("vision_tower" in n for n in changed)


def test_a_reducer_in_training_gives_the_tokens_of_inference(lab: Lab) -> None:
    """The untrained adapter adds nothing, so both see the same features; only the answer is there in training."""
    training, asking = Watch(), Watch()
    tuner = lab.tuner(training, dropout=0.0)
    conversation = lab.ten()[1]
    tuner.forward(lab.packer().pack([conversation], torch.float32))
    batch = lab.packer().pack([conversation], torch.float32)
    length = int((batch.labels[0] == -100).sum())
    inputs = {**batch.inputs, **{k: batch.inputs[k][:, :length] for k in ("input_ids", "attention_mask")}}
    ReducedVLM(lab.model.eval(), asking).generate(inputs, max_new_tokens=1, do_sample=False)
    assert training.seen[0] == asking.seen[0]
    assert len(training.seen) == 2 and len(training.seen[0][0]) == TOKENS // 3


def test_a_step_is_the_mean_of_its_forward_passes(lab: Lab) -> None:
    """Accumulation: as LLaVA's trainer has it, whatever the lengths of their answers."""
    tuner = lab.tuner(Watch(), dropout=0.0, clip=1e9)
    micros = tuner.order.micros(0)
    row = tuner.step(0)
    assert row is not None and len(micros) == 2
    got = {n: w.grad.clone() for n, w in tuner.weights.items() if w.grad is not None}
    tuner.optimiser.zero_grad()
    losses = [tuner.forward(lab.packer().pack([lab.ten()[i] for i in m], torch.float32)) for m in micros]
    assert row["loss"] == pytest.approx(sum(made.answers.item() for made in losses) / 2)
    torch.stack([made.answers for made in losses]).mean().backward()  # type: ignore[no-untyped-call]
    for name, weight in tuner.weights.items():
        if weight.grad is not None:
            torch.testing.assert_close(got[name], weight.grad, rtol=1e-4, atol=1e-7)
    assert len(got) == len(tuner.weights)


def test_projector_tuning_of_a_method_that_merges(lab: Lab, tmp_path: Path) -> None:
    """VisionZip's: the projector alone learns, from contextual tokens as well, and the answers get likelier."""
    tuner = lab.tuner(VisionZip(keep=6, contextual=2), kind="projector", steps=12)
    after = run(tuner, tmp_path)
    assert all("multi_modal_projector" in name for name in after)
    rows = [json.loads(x) for x in State(tmp_path, "f").metrics.read_text().splitlines()]
    shown = [row["loss"] for row in rows if row["visual"] > 0]
    assert {row["visual"] for row in rows if row["samples"] == 4} <= {6.0, 3.0, 0.0}
    assert sum(shown[-3:]) < sum(shown[:3])


def test_the_terminal_shows_progress_loss_samples_per_second_and_time_left(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.tuner(Watch(), steps=2).run(State(tmp_path, "f"), Stop(), show=True)
    last = capsys.readouterr().err.split("\r")[-1]
    assert re.search(r"2/2 \[\d\d:\d\d<\d\d:\d\d, .*loss=\d+\.\d+, samples_per_s=\d", last), last


def test_without_a_picture_the_reducer_rests(lab: Lab) -> None:
    reducer = Watch()
    tuner = lab.tuner(reducer)
    made = tuner.forward(lab.packer().pack(lab.ten()[8:], torch.float32))
    assert made.visual == 0 and not reducer.seen and not reducer.edited and made.own is None
    assert made.answers.isfinite() and made.answers.requires_grad


def test_the_projector_alone_learns_nothing_from_texts_or_without_tokens(lab: Lab, tmp_path: Path) -> None:
    tuner = lab.tuner(Blind(), kind="projector", steps=5)
    before = {n: w.detach().clone() for n, w in tuner.weights.items()}
    after = run(tuner, tmp_path)
    assert all(torch.equal(after[n], before[n]) for n in before)
    assert State(tmp_path, "f").metrics.read_text().count('"gradient": 0.0') == 5


def test_checkpointing_trains_the_same(lab: Lab, tmp_path: Path) -> None:
    plain = run(lab.tuner(Watch(), checkpointing=False), tmp_path / "plain")
    saving = run(lab.tuner(Watch(), checkpointing=True), tmp_path / "saving")
    for name, weight in plain.items():
        torch.testing.assert_close(saving[name], weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", TRAINED)
def test_bfloat16_trains_float32_weights(lab: Lab, tmp_path: Path, kind: str) -> None:
    tuner = lab.tuner(Watch(), dtype="bfloat16", kind=kind)
    got = run(tuner, tmp_path)
    assert all(w.isfinite().all() and w.dtype == torch.float32 for w in got.values())
    frozen = {p.dtype for p in tuner.model.parameters() if not p.requires_grad}
    assert frozen == {torch.bfloat16}


def test_learning_lowers_the_loss(lab: Lab, tmp_path: Path) -> None:
    run(lab.tuner(Watch(), steps=12, dropout=0.0), tmp_path)
    rows: list[dict[str, Any]] = [eval(x) for x in State(tmp_path, "f").metrics.read_text().splitlines()]
    first, last = (sum(r["loss"] for r in some) for some in (rows[:3], rows[-3:]))
    assert last < 0.8 * first
    assert rows[0]["rate"] < max(r["rate"] for r in rows) and rows[-1]["rate"] < 0.001
    assert {r["samples"] for r in rows} <= {2, 4} and all(0 <= r["visual"] <= TOKENS // 3 for r in rows)


def test_a_loss_that_is_no_number_stops_the_run(lab: Lab, tmp_path: Path) -> None:
    tuner = lab.tuner(Reducer(), steps=2)
    with torch.no_grad():
        next(iter(tuner.weights.values())).fill_(float("nan"))
    with pytest.raises(TuneError, match="the loss is nan at step 1"):
        run(tuner, tmp_path)
