"""Shards: the same answers byte for byte with any number of parts, and none is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from grid.project import Project
from prunegrid.run import predict as stage
from prunegrid.run.errors import BuildError
from prunegrid.run.files import Files
from prunegrid.run.predict import predict
from prunegrid.run.shards import Shard

from . import lab


def test_shards_merge_to_what_one_job_writes(
    template: Project, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cell,) = lab.cells(lab.study(template, {"random": {"keep": 3}}))
    lab.study(project, {"random": {"keep": 3}})
    predict(cell, template.results, template.root, "code", "cpu")
    whole, files = Files.of(template.results, cell), Files.of(project.results, cell)
    for k in (3, 1, 2):  # in any order
        predict(cell, project.results, project.root, "code", "cpu", Shard(k, 3))
        assert Shard(k, 3).stamp(files.prediction).exists()
        assert not files.records.exists()

    def load(*_: object) -> None:
        raise AssertionError("nothing is left to ask")

    monkeypatch.setattr(stage, "Answerer", load)
    predict(cell, project.results, project.root, "code", "cpu")
    assert files.records.read_bytes() == whole.records.read_bytes()
    assert files.trace.read_bytes() == whole.trace.read_bytes()
    assert not list(files.prediction.glob("partial*"))


def test_what_a_shard_did_not_answer_is_asked(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (cell,) = lab.cells(lab.study(project, "none"))
    files = Files.of(project.results, cell)
    predict(cell, project.results, project.root, "code", "cpu", Shard(1, 2))
    predict(cell, project.results, project.root, "other code", "cpu", Shard(2, 2))  # is not mixed in
    asked: list[str] = []
    real = stage.Answerer.__call__

    def answer(answerer: stage.Answerer, batch: list[stage.Sample]) -> object:
        asked.extend(s.id for s in batch)
        return real(answerer, batch)

    monkeypatch.setattr(stage.Answerer, "__call__", answer)
    predict(cell, project.results, project.root, "code", "cpu")
    every = [line for line in files.records.read_text(encoding="utf-8").splitlines() if line]
    assert 0 < len(asked) < len(every)
    assert len(every) - len(asked) in range(len(every) // 2 - 4, len(every) // 2 + 5)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2"])
def test_a_shard_that_is_none(text: str) -> None:
    with pytest.raises(BuildError, match="K/N"):
        Shard.parse(text)


def test_every_batch_is_in_one_shard(tmp_path: Path) -> None:
    batches = list(range(11))
    parts = [Shard(k, 4).mine(batches) for k in range(1, 5)]
    assert sorted(n for part in parts for n in part) == batches
