"""TextVQA, VQAv2, VizWiz and GQA by hand."""

import pytest

from prunegrid.tasks import Record, TaskError
from prunegrid.tasks.gqa import Gqa
from prunegrid.tasks.textvqa import TextVqa
from prunegrid.tasks.vizwiz import VizWiz
from prunegrid.tasks.vqav2 import VqaV2

TEXT = TextVqa(file="t.jsonl", prompt="{question}")
TYPES = ("yes/no", "number", "other")


def test_textvqa_by_hand(write, example, judged_with) -> None:
    # STOP. -> 1; "bus" agrees with 1 of 10 -> .3; nothing said -> 0
    judged = judged_with(TEXT, write("t.jsonl", example("textvqa")), ["STOP.", "A bus", ""])
    score = TEXT.score(judged)
    assert [row["score"] for row in judged] == pytest.approx([1, 0.3, 0])
    assert score["accuracy"] == pytest.approx(1.3 / 3) and score["empty"] == pytest.approx(1 / 3)


def test_prompt_that_names_ocr_needs_the_words(write, example) -> None:
    rows = [{k: v for k, v in row.items() if k != "ocr_tokens"} for row in example("textvqa")]
    task = TextVqa(file="t.jsonl", prompt="{question}\nReference OCR token: {ocr}")
    with pytest.raises(TaskError, match=r"id 't1': prompt wants \{ocr\}; there are answer, cluster"):
        list(task.samples(write("t.jsonl", rows)))


def test_vqav2_is_normalised_before_upload_and_compared_as_the_server_does(
    write, example, judged_with
) -> None:
    task = VqaV2(file="v.jsonl", prompt="{question}", types=TYPES)
    # "Yes." -> "yes", 1 of 10; "two" -> "2"; "The cup" -> "cup" equals "cup" and "a cup"
    judged = judged_with(task, write("v.jsonl", example("vqav2")), ["Yes.", "two", "The cup"])
    assert [row["score"] for row in judged] == pytest.approx([0.3, 1, 1])
    assert task.score(judged) == {
        "accuracy": pytest.approx(2.3 / 3),
        "accuracy_yes/no": pytest.approx(0.3),
        "accuracy_number": 1,
        "accuracy_other": 1,
        "empty": 0,
    }


def test_the_two_evaluators_part_where_all_references_agree() -> None:
    record = Record("1", "a", "two cups", ["two cups"] * 10, {})
    scores = {
        evaluator: VqaV2(file="v", prompt="", evaluator=evaluator).judge(record, "official")["score"]
        for evaluator in ("m4c", "vqa_official")
    }
    assert scores == {"m4c": 1, "vqa_official": 0}  # the server leaves the references' "two" as it is


def test_strict_gives_nothing_for_nothing() -> None:
    record = Record("1", "a", "", ["the"] * 10, {})  # a reference of which nothing is left
    assert TEXT.judge(record, "official")["score"] == 1
    assert TEXT.judge(record, "strict")["score"] == 0


def test_vizwiz_parts_answerable_from_unanswerable(write, example, judged_with) -> None:
    task = VizWiz(file="z.jsonl", prompt="{question}")
    data = write("z.jsonl", example("vizwiz"))
    blind = task.score(judged_with(task, data, ["Unanswerable", "unanswerable"]))
    assert blind["accuracy"] == 0.5 and blind["says_unanswerable"] == 1
    assert blind["accuracy_answerable"] == 0 and blind["accuracy_unanswerable"] == 1
    seeing = task.score(judged_with(task, data, ["a dog", "navy"]))
    assert seeing["accuracy_answerable"] == pytest.approx(0.9) and seeing["says_unanswerable"] == 0


def test_gqa_takes_off_trailing_periods_and_upper_case_only(write, example, judged_with) -> None:
    task = Gqa(file="g.jsonl", prompt="{question}")
    data = write("g.jsonl", example("gqa"))
    assert task.score(judged_with(task, data, ["Yes.", "Umbrella"])) == {
        "accuracy": 1,
        "binary": 1,
        "open": 1,
    }
    other = task.score(judged_with(task, data, ["yes", "an umbrella"]))
    assert other == {"accuracy": 0.5, "binary": 1, "open": 0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": ["a"] * 9}, "answer must be a list of 10 texts"),
        ({"answer": [1] * 10}, "answer must be a list of 10 texts"),
        ({"answer": "a"}, "field 'answer' must be list, not 'a'"),
        ({"type": "where"}, "type 'where' must be one of yes/no, number, other"),
        ({"type": None}, "type None must be one of"),
    ],
)
def test_bad_rows(change, message, write, example) -> None:
    rows = example("vqav2")
    rows[0].update(change)
    with pytest.raises(TaskError, match=message):
        list(VqaV2(file="v.jsonl", prompt="{question}", types=TYPES).samples(write("v.jsonl", rows)))


def test_unknown_evaluator() -> None:
    with pytest.raises(TaskError, match="evaluator 'exact'"):
        TextVqa(file="t", prompt="", evaluator="exact")
