"""Predictions: resumed byte for byte, never mixed, never lost, never made up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from grid.project import Project
from prunegrid.grid.cell import Cell
from prunegrid.run import predict as stage
from prunegrid.run.files import Files
from prunegrid.run.main import main
from prunegrid.run.predict import Partial, predict
from prunegrid.tasks import Sample

from . import lab


@pytest.fixture(scope="module")
def whole(template: Project) -> tuple[Cell, Files]:
    """A cell answered without interruption."""
    (cell,) = lab.cells(lab.study(template, {"random": {"keep": 5}}))
    predict(cell, template.results, template.root, "code", "cpu")
    return cell, Files.of(template.results, cell)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Power:
    """Goes off after `batches` batches, in whatever way `error` says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, batches: int, error: BaseException) -> None:
        self.asked: list[list[str]] = []
        self.left, self.error = batches, error
        real = stage.Answerer.__call__

        def answer(answerer: Any, batch: Sequence[Sample]) -> list[dict[str, Any]]:
            if not self.left:
                raise self.error
            self.left -= 1
            self.asked.append([s.id for s in batch])
            return real(answerer, batch)

        monkeypatch.setattr(stage.Answerer, "__call__", answer)


def test_a_prediction_has_a_row_for_every_question(template: Project, whole: tuple[Cell, Files]) -> None:
    cell, files = whole
    asked = lines(template.root / lab.SCENES / "vqa.jsonl")
    records, trace = lines(files.records), lines(files.trace)
    assert [r["id"] for r in records] == [r["id"] for r in asked] == [r["id"] for r in trace]
    assert all(r["projector"] == 5 for r in trace)
    assert all(r["reducer_flops"] == 0 for r in trace)  # lots are drawn, nothing is computed
    assert all(r["new_tokens"] >= 1 for r in records)
    assert not (files.prediction / "partial.jsonl").exists()
    seen = json.loads(files.provenance.read_text(encoding="utf-8"))
    assert (seen["code"], seen["samples"], seen["data"]) == ("code", len(asked), dict(cell.data))
    assert Cell.from_dict(seen["cell"]) == cell


@pytest.mark.parametrize("cut", ["", '{"record": {"id": "sce', '{"record"'])
def test_a_killed_prediction_goes_on_and_ends_byte_for_byte_the_same(
    cut: str, whole: tuple[Cell, Files], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, finished = whole
    files = Files.of(project.results, cell)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Power(patch, 1, KeyboardInterrupt())
        predict(cell, project.results, project.root, "code", "cpu")
    partial = files.prediction / "partial.jsonl"
    kept = partial.read_text(encoding="utf-8").splitlines(keepends=True)
    assert len(kept) == 1 + 4  # the fingerprint and one batch
    partial.write_text("".join(kept) + cut, encoding="utf-8")
    power = Power(monkeypatch, 99, KeyboardInterrupt())
    predict(cell, project.results, project.root, "code", "cpu")
    assert files.records.read_bytes() == finished.records.read_bytes()
    assert files.trace.read_bytes() == finished.trace.read_bytes()
    assert power.asked == [[r["id"] for r in lines(finished.records)[4:]]]  # nothing is asked twice
    assert not partial.exists()


def test_a_batch_that_was_half_written_is_asked_as_a_whole(
    whole: tuple[Cell, Files], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sits beside whom never depends on an interruption: padding changes low-precision results."""
    cell, finished = whole
    files = Files.of(project.results, cell)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Power(patch, 1, KeyboardInterrupt())
        predict(cell, project.results, project.root, "code", "cpu")
    partial = files.prediction / "partial.jsonl"
    text = partial.read_text(encoding="utf-8")
    partial.write_text(text[:-40], encoding="utf-8")  # the fourth row is cut
    power = Power(monkeypatch, 99, KeyboardInterrupt())
    predict(cell, project.results, project.root, "code", "cpu")
    assert files.records.read_bytes() == finished.records.read_bytes()
    assert len(power.asked[0]) == 4


@pytest.mark.parametrize("first_line", ["other", "cut", "none"])
def test_rows_of_another_code_are_set_aside_not_mixed_in(
    first_line: str, whole: tuple[Cell, Files], project: Project
) -> None:
    cell, finished = whole
    files = Files.of(project.results, cell)
    files.prediction.mkdir(parents=True)
    rows = lines(finished.records)
    false = [{"record": {**r, "text": "FALSE"}, "trace": {}} for r in rows]
    own = json.dumps({"fingerprint": f"{files.prediction_id} code"})
    head = {"other": own.replace("code", "older"), "cut": own[:-3], "none": ""}[first_line]
    partial = files.prediction / "partial.jsonl"
    partial.write_text("\n".join([head, *map(json.dumps, false), ""]), encoding="utf-8")
    before = partial.read_bytes()
    predict(cell, project.results, project.root, "code", "cpu")
    assert files.records.read_bytes() == finished.records.read_bytes()
    (aside,) = files.prediction.glob("partial.*.old")
    assert aside.read_bytes() == before


def test_rows_with_odd_characters_are_not_taken_for_cut_ones(tmp_path: Path) -> None:
    partial = Partial(tmp_path / "partial.jsonl", "f")
    row = {"record": {"id": "a", "text": "one\u2028two\x85three\n\x0c"}, "trace": {}}
    partial.rewrite({})
    partial.append([row])
    assert partial.load() == {"a": row}


def test_a_sample_that_fails_fails_the_cell_and_nothing_finished_is_lost(
    whole: tuple[Cell, Files], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, finished = whole
    lab.study(project, {"random": {"keep": 5}})
    files = Files.of(project.results, cell)
    argv = ["--root", str(project.root), "predict", str(files.cell / "cell.yaml"), "--code", "code"]
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="out of memory"):
        Power(patch, 1, RuntimeError("out of memory at sample 5"))
        main(argv)
    failed = json.loads((files.prediction / "failed.json").read_text(encoding="utf-8"))
    assert failed["stage"] == "predict"
    assert failed["reason"] == "RuntimeError: out of memory at sample 5"
    assert failed["log"] == f"logs/predict/{files.prediction_id}.log"
    assert failed["rerun"] == f"prunegrid rerun {cell.id()}"
    assert "out of memory" in failed["log_tail"][-1]
    assert not files.records.exists() and not files.provenance.exists()
    assert len(lines(files.prediction / "partial.jsonl")) == 1 + 4
    power = Power(monkeypatch, 99, RuntimeError())
    assert main(argv) == 0
    assert len(power.asked) == 1
    assert not (files.prediction / "failed.json").exists()
    assert files.records.read_bytes() == finished.records.read_bytes()


def test_a_budget_like_another_cell_is_its_rounded_mean(project: Project) -> None:
    plan = lab.study(
        project,
        {"prumerge": {"merge": False}},
        {"topk_cls": {"keep": {"like": {"prumerge": {"merge": False}}}}},
    )
    adaptive, like = lab.cells(plan)
    predict(adaptive, project.results, project.root, "code", "cpu")
    counts = [r["projector"] for r in lines(Files.of(project.results, adaptive).trace)]
    predict(like, project.results, project.root, "code", "cpu")
    files = Files.of(project.results, like)
    expected = max(1, round(sum(counts) / len(counts)))
    assert {r["projector"] for r in lines(files.trace)} == {expected}
    assert (
        len({r["reducer_flops"] for r in lines(files.trace)}) == 1
    )  # one row of attention for every picture
    assert lines(files.trace)[0]["reducer_flops"] > 0
    assert json.loads(files.provenance.read_text(encoding="utf-8"))["resolved"] == {"keep": expected}


def test_seeds_draw_different_tokens_and_the_same_seed_the_same(project: Project) -> None:
    plan = lab.study(project, {"random": {"keep": 5}}, task="mini_pope", seed=[0, 1], size=8)
    kept = []
    for cell in lab.cells(plan):
        predict(cell, project.results, project.root, "code", "cpu")
        kept.append({r["id"]: r["kept"] for r in lines(Files.of(project.results, cell).trace)})
    assert kept[0] != kept[1]
