"""Cells of benchmarks that a judge scores: judged once, replayed for every score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prunegrid.run.files import Files, ResultError, write_jsonl
from prunegrid.run.judged_cell import with_judgements
from prunegrid.run.main import main
from prunegrid.tasks.mmvet import MmVet
from prunegrid.tasks.videoqa import VideoQa
from tasks.judging.stub import serve

TASK = MmVet(file="mmvet.jsonl", prompt="{question}")
ROW = {
    "id": "v1_0",
    "cluster": "a.jpg",
    "image": None,
    "question": "x?",
    "answer": "3",
    "capability": ["math"],
}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Predictions of one question."""
    (tmp_path / "mmvet.jsonl").write_text(json.dumps(ROW) + "\n", encoding="utf-8")
    (sample,) = TASK.samples(tmp_path)
    made = Files(tmp_path, "cell", "prediction")
    write_jsonl(made.records, [sample.record("It is 3.").to_dict() | {"new_tokens": 3}])
    return made


def records(files: Files) -> list[Any]:
    from prunegrid.tasks.layouts.records import records as read

    return read(files.records)


def test_without_judgements_the_error_is_the_command_to_run(files: Files) -> None:
    with pytest.raises(
        ResultError, match=r"run `prunegrid judge mmvet .*records\.jsonl --store .*judgements\.jsonl`"
    ):
        with_judgements(TASK, "mmvet", files, records(files))


def test_that_command_makes_the_score_possible(files: Files, tmp_path: Path) -> None:
    config, store = tmp_path / "judge.yaml", files.prediction / "judgements.jsonl"
    with serve(["0.4", "0.6"]) as stub:
        config.write_text(f"base_url: {stub.base_url}\nmodel: m\nkey_variable: ''\n", encoding="utf-8")
        words = ["judge", "mmvet", files.records, "--store", store, "--config", config, "--runs", 2]
        assert main([str(word) for word in words]) == 0
    assert (
        "x?" in stub.asked[0]["messages"][1]["content"]
        and "It is 3." in stub.asked[0]["messages"][1]["content"]
    )
    task, judged, said = with_judgements(TASK, "mmvet", files, records(files))
    assert task.score([task.judge(r, "official") for r in judged])["score"] == pytest.approx(0.5)
    assert said[1].startswith("judged by judge-1")


def test_a_task_that_has_a_score_without_a_judge_needs_none(files: Files) -> None:
    task = VideoQa(file="f", prompt="")
    assert with_judgements(task, "msvd_qa", files, records(files)) == (task, records(files), [])
    assert with_judgements(TASK, "pope", files, records(files))[2] == []
