"""`prunegrid score-file` and `prunegrid judge` from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prunegrid.run.main import main
from tasks.judging.stub import serve
from tasks.layouts import lab

LABELS = {split: ["yes", "no"] * 3 for split in ("random", "popular", "adversarial")}
SAID = {"random": ["Yes", "No"] * 3, "popular": ["Yes"] * 6, "adversarial": ["No"] * 6}
QUICK = ["--replicates", "200"]


def out(capsys: Any, *words: object) -> Any:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def test_every_number_unrounded_with_its_interval(tmp_path: Path, capsys: Any) -> None:
    answers, files = lab.pope(tmp_path, SAID, LABELS)
    found = json.loads(out(capsys, "score-file", "pope", answers, "--annotations", *files, "--json", *QUICK))
    third = 100 * (1 + 2 / 3 + 0) / 3
    assert (
        found["headline"]["value"] == pytest.approx(third) and found["headline"]["printed"] == f"{third:.1f}"
    )
    assert found["definitions"]["pope_f1_mean"]["value"] == pytest.approx(third)
    assert found["definitions"]["pope_f1_pooled"]["value"] != pytest.approx(third)
    assert set(found["metrics"]["f1"]) == {"value", "low", "high", "se", "level"}
    assert (found["n"], found["clusters"], found["missing"], found["unknown"], found["empty"]) == (
        18,
        3,
        0,
        0,
        0,
    )
    assert (found["mode"], found["task_version"]) == ("official", "1")


def test_the_two_modes_part_where_nothing_is_stated(tmp_path: Path, capsys: Any) -> None:
    answers, files = lab.pope(tmp_path, {**SAID, "random": [""] * 6}, LABELS)
    words = ["score-file", "pope", answers, "--annotations", *files, "--json", *QUICK]
    official, strict = (json.loads(out(capsys, *words, "--mode", mode)) for mode in ("official", "strict"))
    assert official["metrics"]["f1_random"]["value"] == pytest.approx(2 / 3)
    assert strict["metrics"]["f1_random"]["value"] == 0 and official["empty"] == 6


def test_people_read_the_definitions_first(tmp_path: Path, capsys: Any) -> None:
    answers, files = lab.pope(tmp_path, SAID, LABELS)
    lines = out(capsys, "score-file", "pope", answers, "--annotations", *files, *QUICK).splitlines()
    assert lines[0] == "pope (official), 18 answers, 3 clusters; 95 % intervals by resampling clusters"
    assert lines[1].split()[:2] == ["pope_f1_mean", "55.56"] and "mean of the F1 of random" in lines[1]


def test_a_bad_file_is_one_line_and_exit_code_2(tmp_path: Path, capsys: Any) -> None:
    answers, files = lab.pope(tmp_path, {**SAID, "random": ["Yes"]}, LABELS)
    assert main(["score-file", "pope", str(answers), "--annotations", *map(str, files)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("prunegrid: 5 questions have no answer (first: 10000002")
    assert len(said.err.splitlines()) == 1
    words = ["score-file", "pope", answers, "--annotations", *files, "--missing", "skip", "--json", *QUICK]
    found = json.loads(out(capsys, *words))
    assert found["missing"] == 5 and found["n"] == 13


def test_two_files_are_compared_question_by_question(tmp_path: Path, capsys: Any) -> None:
    answers, files = lab.pope(tmp_path / "a", SAID, LABELS)
    other, _ = lab.pope(tmp_path / "b", LABELS, LABELS)  # type: ignore[arg-type]
    words = ["score-file", "pope", answers, "--annotations", *files, *QUICK]
    same = json.loads(out(capsys, *words, "--against", answers, "--json"))["against"]
    assert all((d["value"], d["low"], d["high"], d["p"]) == (0, 0, 0, 1) for d in same["difference"].values())
    found = json.loads(out(capsys, *words, "--against", other, "--json"))["against"]
    # popular: 3 more wrong; adversarial: 3 more wrong
    assert found["mcnemar"] == {"only_ours": 0, "only_theirs": 6, "p": pytest.approx(2 / 2**6)}
    assert found["difference"]["f1"]["value"] == pytest.approx((1 + 2 / 3 + 0) / 3 - 1)
    assert "McNemar, exact: 0 against 6" in out(capsys, *words, "--against", other)


def test_files_of_other_questions_are_not_compared(tmp_path: Path, capsys: Any) -> None:
    answers, files = lab.pope(tmp_path / "a", SAID, LABELS)
    other, _ = lab.pope(tmp_path / "b", {**SAID, "random": ["Yes"] * 3}, LABELS)
    words = ["score-file", "pope", answers, "--annotations", *files, "--against", other, "--missing", "skip"]
    assert main([str(word) for word in words]) == 2
    assert "answer different questions" in capsys.readouterr().err


def test_vizwiz_raw_answers_become_the_upload_file(tmp_path: Path, capsys: Any) -> None:
    listed = [{"question_id": 0, "image": "VizWiz_test_00000000.jpg", "text": "?", "category": "default"}]
    files = [
        lab.jsonl(tmp_path / "answers.jsonl", [lab.answer(0, "?", "The Dog.")]),
        lab.jsonl(tmp_path / "llava_test.jsonl", listed),
    ]
    upload = tmp_path / "up" / "upload.json"
    said = out(capsys, "score-file", "vizwiz", files[0], "--annotations", files[1], "--upload", upload)
    assert upload.read_text(encoding="utf-8") == '[{"image": "VizWiz_test_00000000.jpg", "answer": "dog"}]'
    assert f"wrote 1 answers to {upload}" in said and "nothing to score" in said
    answers, pope = lab.pope(tmp_path, SAID, LABELS)
    words = ["score-file", "pope", answers, "--annotations", *pope, "--upload", upload]
    assert main([str(word) for word in words]) == 2
    assert "no upload file can be written: this task has none" in capsys.readouterr().err


def test_answers_are_judged_stored_and_scored_without_network(tmp_path: Path, capsys: Any) -> None:
    given = lab.dump(
        tmp_path / "mm-vet.json",
        {"v1_0": {"imagename": "a.jpg", "question": "x?", "answer": "x", "capability": ["ocr"]}},
    )
    answers, store = lab.dump(tmp_path / "a.json", {"v1_0": "It is x."}), tmp_path / "store.jsonl"
    config = tmp_path / "judge.yaml"
    with serve(["0.5", "0.7"]) as stub:
        config.write_text(
            f"base_url: {stub.base_url}\nmodel: m\nkey_variable: ''\ntries: 1\n", encoding="utf-8"
        )
        words = ["judge", "mmvet", answers, "--annotations", given, "--store", store, "--config", config]
        out(capsys, *words, "--runs", 2)
    score = ["score-file", "mmvet", answers, "--annotations", given, "--judgements", store, "--json", *QUICK]
    found = json.loads(out(capsys, *score))
    assert found["headline"]["value"] == pytest.approx(60) and found["metrics"]["score_run2"]["value"] == 0.7
    assert found["notes"][1].startswith("judged by judge-1, ")
    with serve([500]) as stub:
        words[-1] = config
        config.write_text(
            f"base_url: {stub.base_url}\nmodel: m\nkey_variable: ''\ntries: 1\n", encoding="utf-8"
        )
        assert main([str(word) for word in [*words, "--runs", 3]]) == 1
    assert "1 answers are not judged; call again" in capsys.readouterr().err
    assert len(store.read_text(encoding="utf-8").splitlines()) == 2


def test_scoring_needs_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from prunegrid.run import score_file, judge, paired; from prunegrid.tasks import layouts;"
        "from prunegrid.tasks.layouts import pope, mme; import prunegrid.stats.bootstrap;"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.split() == ["False", "False"]
