"""Lettered choices: ScienceQA's parse, MMBench's circles, SEED's equality."""

import pytest

from prunegrid.tasks import Record, TaskError
from prunegrid.tasks.mmbench import MmBench
from prunegrid.tasks.scienceqa import ScienceQa, parse_letter
from prunegrid.tasks.seed import Seed

SQA = ScienceQa(file="sqa.jsonl", prompt="{question}\n{options}")
MMB = MmBench(file="mmb.jsonl", prompt="{question}\n{options}")
SEED = Seed(file="seed.jsonl", prompt="{question}\n{options}")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A", "A"),
        ("E", "E"),
        ("F", None),  # options end at E
        ("a", None),
        ("B. blue", "B"),
        ("B.", None),  # neither a letter nor a letter with ". "
        ("B.blue", None),
        ("B) blue", None),
        ("The answer is C.", "C"),
        ("The answer is C", None),  # one more character is wanted
        ("The answer is C because", "C"),  # and any will do
        ("The answer is C. The answer is D.", None),  # exactly one
        ("So: The answer is Z.", "Z"),  # found, but no choice has it
        ("", None),
    ],
)
def test_scienceqa_parse(text: str, letter: str | None) -> None:
    assert parse_letter(text) == letter


def test_scienceqa_by_hand(write, example, judged_with) -> None:
    data = write("sqa.jsonl", example("scienceqa"))
    score = SQA.score(judged_with(SQA, data, ["A", "The answer is A.", "C. house"]))
    assert score == {"img_accuracy": 0.5, "text_accuracy": 1, "accuracy": pytest.approx(2 / 3), "unparsed": 0}
    score = SQA.score(judged_with(SQA, data, ["red", "D", ""], "strict"))
    assert score["accuracy"] == 0 and score["unparsed"] == pytest.approx(2 / 3)  # D is parsed but not offered


def test_scienceqa_text_questions_have_no_image(write, example) -> None:
    images = [sample.images for sample in SQA.samples(write("sqa.jsonl", example("scienceqa")))]
    assert [len(paths) for paths in images] == [1, 1, 0]


@pytest.mark.parametrize("answer", [-1, 3, True, "0"])
def test_scienceqa_bad_answer(answer, write, example) -> None:
    rows = example("scienceqa")
    rows[0]["answer"] = answer
    with pytest.raises(TaskError, match="answer"):
        list(SQA.samples(write("sqa.jsonl", rows)))


def test_mmbench_counts_a_question_only_if_every_rotation_is_right(write, example, judged_with) -> None:
    data = write("mmb.jsonl", example("mmbench"))
    every = MMB.score(judged_with(MMB, data, ["A", "B", "C"]))
    assert every == {"circular": 1, "first": 1, "rows": 1, "unparsed": 0}
    one_rotation_wrong = MMB.score(judged_with(MMB, data, ["A", "A", "C"]))
    assert one_rotation_wrong["circular"] == 0.5 and one_rotation_wrong["first"] == 1
    assert one_rotation_wrong["rows"] == pytest.approx(2 / 3)
    first_wrong = MMB.score(judged_with(MMB, data, ["B", "B", "C"]))
    assert first_wrong["circular"] == 0.5 and first_wrong["first"] == 0.5


def test_mmbench_order_of_records_does_not_matter(write, example, judged_with) -> None:
    judged = judged_with(MMB, write("mmb.jsonl", example("mmbench")), ["A", "A", "C"])
    assert MMB.score(judged) == MMB.score(judged[::-1])


@pytest.mark.parametrize("text", ["A.", "(A)", "A. red", "a", "red", "", "AB"])
def test_mmbench_wants_the_bare_letter(text: str) -> None:
    record = Record("1", "1", text, "A", {"group": "1", "group_size": 1, "rotation": 0})
    for mode in ("official", "strict"):
        assert MMB.judge(record, mode)["correct"] is False


def test_mmbench_missing_rotation_is_an_error(write, example, judged_with) -> None:
    judged = judged_with(MMB, write("mmb.jsonl", example("mmbench")), ["A", "B", "C"])
    with pytest.raises(TaskError, match=r"group '1': 1 of 2 questions \(id '1'\)"):
        MMB.counts([judged[0], judged[2]])


@pytest.mark.parametrize(
    ("task", "file", "rows", "change", "message"),
    [
        (MMB, "mmb.jsonl", "mmbench", {"answer": "C"}, "answer 'C' must be a letter of AB"),
        (MMB, "mmb.jsonl", "mmbench", {"answer": ""}, "answer '' must be a letter of AB"),
        (MMB, "mmb.jsonl", "mmbench", {"choices": ["red"]}, "choices must be a list of 2 to 26 texts"),
        (MMB, "mmb.jsonl", "mmbench", {"choices": ["red", None]}, "choices must be a list of 2 to 26 texts"),
        (SEED, "seed.jsonl", "seed", {"data_type": "audio"}, "data_type 'audio' must be image or video"),
    ],
)
def test_bad_rows(task, file, rows, change, message, write, example) -> None:
    made = example(rows)
    made[0].update(change)
    with pytest.raises(TaskError, match=message):
        list(task.samples(write(file, made)))


def test_seed_is_equality_with_the_letter(write, example, judged_with) -> None:
    data = write("seed.jsonl", example("seed"))
    right = SEED.score(judged_with(SEED, data, ["A", "D"]))
    assert right == {"accuracy": 1, "accuracy_image": 1, "accuracy_video": 1, "unparsed": 0}
    ends_stripped = SEED.score(judged_with(SEED, data, ["A\n", " D"]))
    assert ends_stripped == right
    sentence = SEED.score(judged_with(SEED, data, ["A photo", "D"]))
    assert sentence["accuracy_image"] == 0 and sentence["accuracy_video"] == 1 and sentence["unparsed"] == 0.5
