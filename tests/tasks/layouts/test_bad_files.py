"""Files that are broken: one clear error each, or a failure that is counted. Never a silent zero."""

import json
from pathlib import Path
from typing import Any

import pytest

from prunegrid.tasks import TaskError
from prunegrid.tasks.layouts import read
from prunegrid.tasks.layouts.answered import settle
from prunegrid.tasks.layouts.files import read_jsonl, read_rows
from tasks.layouts import lab

LABELS = {split: ["yes", "no"] for split in ("random", "popular", "adversarial")}
SAID = {split: ["Yes", "No"] for split in LABELS}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.open(encoding="utf-8")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r[:-1], r"1 questions have no answer \(first: 20000002; --missing skip"),
        (lambda r: [*r, r[0]], r"answers: 1 ids come twice \(first: 1\)"),
        (lambda r: [*r, {**r[0], "question_id": 99}], r"1 answers belong to no question \(first: 99"),
        (
            lambda r: [{**r[0], "question_id": 7_000}],
            "6 questions have no answer.*1 answers belong to no question",
        ),
        (lambda r: [{**r[0], "text": None}, *r[1:]], "question 1: text must be text, not no answer"),
        (lambda r: [{**r[0], "text": 3}, *r[1:]], "question 1: text must be text, not 3"),
        (lambda r: [{**r[0], "question_id": None}], "question_id None is no id"),
        (
            lambda r: [{k: v for k, v in r[0].items() if k != "text"}],
            "text is missing; there are question_id, prompt",
        ),
    ],
)
def test_answers_that_do_not_fit(tmp_path: Path, change: Any, message: str) -> None:
    answers, files = lab.pope(tmp_path, SAID, LABELS)
    lab.jsonl(answers, change(rows(answers)))
    with pytest.raises(TaskError, match=message):
        settle(read("pope", [answers], files))


def test_nan_is_no_answer(tmp_path: Path) -> None:
    answers, files = lab.pope(tmp_path, SAID, LABELS)
    text = answers.read_text(encoding="utf-8").replace('"text": "Yes"', '"text": NaN', 1)
    answers.write_text(text, encoding="utf-8")
    with pytest.raises(TaskError, match=r"line 1: NaN is no value"):
        read("pope", [answers], files)


def test_a_file_that_was_cut_names_the_line(tmp_path: Path) -> None:
    answers, files = lab.pope(tmp_path, SAID, LABELS)
    answers.write_bytes(answers.read_bytes()[:-40])
    with pytest.raises(TaskError, match=r"llava-v1\.5-13b\.jsonl line 6: not JSON .*cut"):
        read("pope", [answers], files)
    whole = lab.dump(tmp_path / "x.json", [{"a": 1}, {"a": 2}], indent=1)
    whole.write_bytes(whole.read_bytes()[:-6])
    with pytest.raises(TaskError, match=r"x\.json: not JSON .*cut"):
        read_rows(whole)


def test_what_may_be_skipped_is_counted(tmp_path: Path) -> None:
    answers, files = lab.pope(tmp_path, SAID, LABELS)
    lab.jsonl(answers, [*rows(answers)[:-1], {**rows(answers)[0], "question_id": 99}])
    answered = settle(read("pope", [answers], files), missing="skip", unknown="skip")
    assert len(answered.records) == 5 and answered.missing == ["20000002"] and answered.unknown == ["99"]


def test_nothing_in_common_is_an_error_even_when_skipping(tmp_path: Path) -> None:
    answers, files = lab.pope(tmp_path, SAID, LABELS)
    lab.jsonl(answers, [{**rows(answers)[0], "question_id": 99}])
    with pytest.raises(TaskError, match="no answer belongs to a question"):
        settle(read("pope", [answers], files), missing="skip", unknown="skip")


def test_empty_answers_are_counted(tmp_path: Path) -> None:
    answers, files = lab.pope(tmp_path, {**SAID, "random": ["", " \n"]}, LABELS)
    assert read("pope", [answers], files).empty == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_other_unicode_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"question_id": 1, "text": "éclair 直接"}\n', encoding=encoding)
    assert read_jsonl(path) == [{"question_id": 1, "text": "éclair 直接"}]


def test_an_unknown_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"question_id": 1, "text": "éclair"}\n'.encode("latin-1"))
    with pytest.raises(TaskError, match=r"a\.jsonl: not utf-8 at byte 28; save it as UTF-8"):
        read_jsonl(path)


def test_line_separators_inside_a_text_do_not_cut_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"question_id": 1, "text": "a\u2028b"}\n', encoding="utf-8")
    assert read_rows(path)[0]["text"] == "a\u2028b"


def test_missing_files_and_empty_files(tmp_path: Path) -> None:
    answers, files = lab.pope(tmp_path, SAID, LABELS)
    with pytest.raises(TaskError, match="no such file"):
        read("pope", [tmp_path / "gone.jsonl"], files)
    with pytest.raises(TaskError, match="no such file"):
        read("pope", [answers], [tmp_path / "gone.json"])
    with pytest.raises(TaskError, match="no annotation file with labels"):
        read("pope", [answers], files[3:])
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    with pytest.raises(TaskError, match=r"empty\.jsonl: no rows"):
        read("pope", [tmp_path / "empty.jsonl"], files)


def test_a_label_that_is_neither_yes_nor_no(tmp_path: Path) -> None:
    answers, files = lab.pope(tmp_path, SAID, {**LABELS, "random": ["yes", "maybe"]})
    with pytest.raises(TaskError, match="random question 10000002: label 'maybe' must be yes or no"):
        read("pope", [answers], files)
