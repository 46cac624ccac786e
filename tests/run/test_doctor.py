"""`prunegrid doctor`: a sound cell passes every gate; a fault at one gate is named there and nowhere before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from grid.project import Project
from prunegrid.grid.cell import Cell
from prunegrid.run import gates, weights
from prunegrid.run.files import Files
from prunegrid.run.main import main

from . import lab

EVERY = list(gates.GATES)


@pytest.fixture(scope="module")
def sound(template: Project) -> Cell:
    """A predicted and scored full-token cell, one question at a time, with its gates written down."""
    (cell,) = lab.cells(lab.study(template, "none", size=1))
    path = str(Files.of(template.results, cell).cell / "cell.yaml")
    for words in (["predict", path, "--device", "cpu"], ["score", path]):
        assert main(["--root", str(template.root), *words]) == 0
    made = ["doctor", cell.id(), "--device", "cpu", "--write", str(template.root / "gates.json")]
    assert main(["--root", str(template.root), *made]) == 0
    return cell


def doctor(project: Project, cell: Cell, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, str]:
    """gate -> ok, WRONG or ?, by what the command prints."""
    capsys.readouterr()
    main(["--root", str(project.root), "doctor", cell.id(), "--device", "cpu", *more])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    return {gate: next(line.split()[0] for line in lines if gate in line) for gate in EVERY}


def test_a_sound_cell_passes_every_gate(
    template: Project, sound: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    found = doctor(template, sound, capsys, "--against", str(template.root / "gates.json"))
    assert found == dict.fromkeys(EVERY, "ok")


def shifted(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any, Any], None]) -> None:
    real = weights.load

    def load(*given: Any) -> tuple[Any, Any]:
        made, processor = real(*given)
        change(made, processor)
        return made, processor

    monkeypatch.setattr(weights, "load", load)


def _mean(made: Any, processor: Any) -> None:
    processor.image_processor.image_mean = [0.4, 0.4, 0.4]


def _projector(made: Any, processor: Any) -> None:
    made.model.multi_modal_projector.linear_1.bias.data += 0.5


def _head(made: Any, processor: Any) -> None:
    made.lm_head.weight.data = made.lm_head.weight.data.flip(0).contiguous()


@pytest.mark.parametrize(
    ("change", "first"), [(_mean, "pixels"), (_projector, "features"), (_head, "first logits")]
)
def test_the_first_gate_that_differs_is_where_the_fault_is(
    change: Callable[[Any, Any], None],
    first: str,
    template: Project,
    sound: Cell,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shifted(monkeypatch, change)
    found = doctor(template, sound, capsys, "--against", str(template.root / "gates.json"))
    assert found[first] == "WRONG"
    assert all(found[gate] == "ok" for gate in EVERY[: EVERY.index(first)])


def test_prompt_text_and_score_have_gates_of_their_own(
    template: Project, sound: Cell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = lab.copy(template, tmp_path / "copy")
    lab.study(copied, "none", size=1)
    file = copied.root / "gates.json"
    told = json.loads(file.read_text(encoding="utf-8"))
    name = next(iter(told))
    told[name]["prompt ids"].insert(3, 7)
    told[name]["text"] += "?"
    file.write_text(json.dumps(told), encoding="utf-8")
    found = doctor(copied, sound, capsys, "--against", str(file))
    assert (found["prompt ids"], found["pixels"], found["text"], found["score"]) == (
        "WRONG",
        "ok",
        "WRONG",
        "?",
    )


def test_a_changed_score_is_seen(template: Project, sound: Cell, capsys: pytest.CaptureFixture[str]) -> None:
    file = Files.of(template.results, sound).cell / "score.json"
    text = file.read_text(encoding="utf-8")
    stored = json.loads(text)
    stored["metrics"][stored["primary"]] += 0.01
    file.write_text(json.dumps(stored), encoding="utf-8")
    try:
        assert doctor(template, sound, capsys)["score"] == "WRONG"
    finally:
        file.write_text(text, encoding="utf-8")


def test_pixels_and_ids_are_held_against_llavas_own_way(
    template: Project, sound: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a file of gates: a processor that crops, and a count of placeholders that is off by one."""
    from dataclasses import replace

    from prunegrid.checkpoints.processing import processor
    from prunegrid.run import build
    from prunegrid.run.predict import Answerer

    cell = replace(sound, model={**sound.model, "aspect": "pad"})
    answerer = Answerer(cell, template.root, {}, "cpu")
    sample = next(iter(build.task(cell).samples(template.root / cell.task["data"])))
    assert not any(made["wrong"] for made in gates.Bench(answerer).look(sample).values())
    answerer.processor = processor(answerer.processor.tokenizer, lab.SIDE * lab.PATCH, lab.PATCH)
    answerer.processor.image_processor.image_std = [0.3, 0.3, 0.3]
    assert "LLaVA's own padding" in gates.Bench(answerer).look(sample)["pixels"]["wrong"][0]
    bench = gates.Bench(answerer)
    ids = answerer.inputs([sample])["input_ids"][0].tolist()
    image = answerer.host.model.config.image_token_id
    ids.remove(image)
    wrong = bench._ids(ids, cell.model["template"].format(question=sample.prompt))["wrong"]
    assert wrong[0] == f"{lab.SIDE**2 - 1} image tokens, not {lab.SIDE**2}"
    assert "cut at <image> and tokenised apart" in wrong[1]
    assert gates._finite(torch.tensor([1.0, float("nan")]).numpy()) == ["1 of 2 values are not finite"]
