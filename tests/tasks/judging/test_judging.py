"""Asking a judge, storing what it says, replaying it; nothing that fails becomes a score."""

from pathlib import Path
from typing import Any

import pytest

from prunegrid.tasks import Record, TaskError
from prunegrid.tasks.judging.client import Judge, JudgeError, ask
from prunegrid.tasks.judging.prompts import asking, vet_verdict, video_verdict, wild_verdict
from prunegrid.tasks.judging.store import judge_all, load, replayed
from prunegrid.tasks.llava_wild import LlavaWild
from prunegrid.tasks.mmvet import MmVet
from tasks.judging.stub import Stub, serve

TALK = [{"role": "user", "content": "?"}]


def judge(stub: Stub, **options: Any) -> Judge:
    return Judge(base_url=stub.base_url, model="judge", **{"key_variable": "", "tries": 3, **options})


def quiet(_: object) -> None:
    """Neither waits nor speaks."""


def wild(name: str, text: str) -> Record:
    meta = {"category": "conv", "asked": "What is it?", "caption": "A mangosteen."}
    return Record(name, name, text, "It is a mangosteen.", meta)


def test_a_request_has_the_openai_interface_and_the_key_of_the_environment(monkeypatch: Any) -> None:
    monkeypatch.setenv("A_KEY", "secret")
    with serve(["hello"]) as stub:
        reply = ask(judge(stub, key_variable="A_KEY", temperature=0.5, max_tokens=7), TALK)
    assert (reply.text, reply.model) == ("hello", "judge-1")
    assert stub.asked == [{"model": "judge", "messages": TALK, "temperature": 0.5, "max_tokens": 7}]
    assert stub.keys == ["Bearer secret"] and stub.paths == ["/v1/chat/completions"]


def test_without_its_key_nothing_is_asked(monkeypatch: Any) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    with serve(["hello"]) as stub, pytest.raises(TaskError, match=r"set \$A_KEY"):
        ask(judge(stub, key_variable="A_KEY"), TALK)
    assert stub.asked == []


def test_passing_failures_are_tried_again_with_growing_pauses() -> None:
    pauses: list[float] = []
    with serve([429, 500, b"not json", "", "good"]) as stub:
        reply = ask(judge(stub, tries=5, first_pause=1, longest_pause=3), TALK, pauses.append)
    assert reply.text == "good" and len(stub.asked) == 5
    assert [
        1 <= pauses[0] <= 1.25,
        2 <= pauses[1] <= 2.5,
        3 <= pauses[2] <= 3.75,
        3 <= pauses[3] <= 3.75,
    ] == [True] * 4


def test_the_last_failure_is_an_error_and_no_reply() -> None:
    with serve([503]) as stub, pytest.raises(JudgeError, match=r"no answer in 3 tries \(last: status 503\)"):
        ask(judge(stub), TALK, quiet)
    assert len(stub.asked) == 3
    gone = Judge(base_url="http://127.0.0.1:9/v1", model="x", key_variable="", tries=2)
    with pytest.raises(JudgeError, match="no answer in 2 tries"):
        ask(gone, TALK, quiet)


def test_a_refusal_is_not_tried_again() -> None:
    with serve([401]) as stub, pytest.raises(JudgeError, match="status 401; no"):
        ask(judge(stub), TALK, quiet)
    assert len(stub.asked) == 1


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("8 7.5\nBoth", [8, 7.5]),
        ("9, 6\nwell", [9, 6]),
        ("Sorry", None),
        ("8", None),
        ("8 9 10", None),
        ("80 90", None),
    ],
)
def test_reading_two_numbers(text: str, points: list[float] | None) -> None:
    assert wild_verdict(text) == points


@pytest.mark.parametrize(
    ("text", "points"),
    [("0.6", 0.6), (" 1.0\n", 1), ("1", 1), ("1.5", None), ("0.6 because", None), ("-0.1", None)],
)
def test_reading_a_grade(text: str, points: float | None) -> None:
    assert vet_verdict(text) == points


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"pred": "yes", "score": 4}', {"pred": "yes", "score": 4}),
        ("Here: {'pred': 'No', 'score': 0}.", {"pred": "no", "score": 0}),
        ('{"pred": "maybe", "score": 4}', None),
        ('{"pred": "yes", "score": 9}', None),
        ('{"pred": "yes"}', None),
        ("yes 4", None),
    ],
)
def test_reading_a_verdict_on_a_video_answer(text: str, found: dict[str, Any] | None) -> None:
    assert video_verdict(text) == found


def judged(path: Path, stub: Stub, records: list[Record], runs: int = 1) -> list[str]:
    return judge_all(
        "llava_wild", records, path, runs=runs, ask=lambda m: ask(judge(stub, tries=1), m, quiet),
        now=lambda: "2026-01-02T03:04:05+00:00", say=quiet,
    )  # fmt: skip


def test_judgements_are_stored_with_judge_and_date_and_replayed_without_network(tmp_path: Path) -> None:
    records, store = [wild("0", "a mangosteen"), wild("1", "a pomegranate")], tmp_path / "store.jsonl"
    with serve(["9 8\nfine", "9 2\nwrong", "8 8", "8 4"]) as stub:
        assert judged(store, stub, records, runs=2) == []
        assert judged(store, stub, records, runs=2) == []  # nothing is asked twice
    assert len(stub.asked) == 4 and "a pomegranate" in stub.asked[1]["messages"][1]["content"]
    lines = load(store)
    assert {(j.judge, j.date) for j in lines} == {("judge-1", "2026-01-02T03:04:05+00:00")}
    found, notes = replayed("llava_wild", records, lines)
    task = LlavaWild(file="f", prompt="", runs=2)
    score = task.score([task.judge(record, "official") for record in found])
    assert score["score_run1"] == pytest.approx(10 / 18) and score["score_run2"] == pytest.approx(12 / 16)
    assert score["score"] == pytest.approx((10 / 18 + 12 / 16) / 2)
    assert notes == ["2 runs of the judge", "judged by judge-1, 2026-01-02 to 2026-01-02"]


def test_a_failure_leaves_no_line_and_is_tried_in_the_next_call(tmp_path: Path) -> None:
    records, store = [wild("0", "a"), wild("1", "b")], tmp_path / "store.jsonl"
    with serve(["9 8", 500, "7 7"]) as stub:
        failures = judged(store, stub, records)
        assert len(failures) == 1 and failures[0].startswith("1 (run 1): judge: no answer")
        assert [j.id for j in load(store)] == ["0"]
        with pytest.raises(TaskError, match=r"1 answers are not judged as they stand \(first: 1 \(run 1\)\)"):
            replayed("llava_wild", records, load(store))
        assert judged(store, stub, records) == [] and [j.id for j in load(store)] == ["0", "1"]


def test_a_changed_answer_is_not_scored_by_the_old_judgement(tmp_path: Path) -> None:
    store = tmp_path / "store.jsonl"
    with serve(["9 8"]) as stub:
        judged(store, stub, [wild("0", "a")])
    with pytest.raises(TaskError, match="not judged as they stand"):
        replayed("llava_wild", [wild("0", "another answer")], load(store))


def test_an_unreadable_reply_is_stored_as_such_and_counted(tmp_path: Path) -> None:
    records, store = [wild("0", "a"), wild("1", "b")], tmp_path / "store.jsonl"
    with serve(["I cannot say.", "8 4"]) as stub:
        judged(store, stub, records)
    found, notes = replayed("llava_wild", records, load(store))
    assert notes[-1] == "1 replies were not readable"
    task = LlavaWild(file="f", prompt="")
    official, strict = (task.score([task.judge(r, mode) for r in found]) for mode in ("official", "strict"))
    assert strict["score"] == 0.5 and strict["unparsed"] == 1
    assert official["score"] == pytest.approx((4 - 1) / (8 - 1))  # the script counts -1 to -1


def test_a_grade_that_was_not_given_is_left_out_of_the_mean_and_counted() -> None:
    records = [
        Record(n, n, "a", "b", {"capability": ["ocr"], "judgements": [g]})
        for n, g in (("0", None), ("1", 0.5))
    ]
    task = MmVet(file="f", prompt="")
    score = task.score([task.judge(record, "official") for record in records])
    assert (score["score"], score["score_ocr"], score["unparsed"]) == (0.5, 0.5, 1)


def test_what_a_judge_needs_is_named() -> None:
    record = Record("0", "0", "a", "b", {"category": "conv"})
    with pytest.raises(TaskError, match="a judge needs 'caption'; pass the benchmark's files"):
        asking("llava_wild").messages(record)
    with pytest.raises(TaskError, match="task 'pope' needs no judge"):
        asking("pope")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": "x"}, "missing base_url"),
        ({"base_url": "http://x", "model": "x", "key": "s"}, "unknown key"),
        ({"base_url": "x.org/v1", "model": "x"}, "must begin with http"),
        ({"base_url": "http://x", "model": "x", "tries": 0}, "tries 0"),
    ],
)
def test_bad_configurations(config: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        Judge.from_config(config)
