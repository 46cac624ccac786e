"""Facts stated, facts true."""

import pytest

from prunegrid.tasks import Record, TaskError
from prunegrid.tasks.caption import Caption, normal, statements

TASK = Caption(file="c.jsonl", prompt="{question}")
FACTS = ["a small red circle at the top left", ["a large blue star", "a big blue star"], "the word STOP"]


def judge(text: str, facts: list = FACTS) -> tuple[int, int, int]:
    row = TASK.judge(Record("1", "a", text, facts, {}), "official")
    return row["facts"], row["stated"], row["true"]


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        (
            "There is a small red circle at the top left. There is a large blue star. The word STOP.",
            (3, 3, 3),
        ),
        ("A small red circle at the top left.", (3, 1, 1)),
        ("A big blue star. A large blue star.", (3, 1, 1)),  # one fact by two names
        (
            "A green square. A green square. The word stop",
            (3, 2, 1),
        ),  # said twice, counts once; no last period
        ("A small red circle, at the top left!\nthe word: STOP", (3, 2, 2)),
        ("a small red circle", (3, 1, 0)),  # part of a fact is not the fact
        ("", (3, 0, 0)),
        (" . . ", (3, 0, 0)),
    ],
)
def test_facts(text: str, counts: tuple[int, int, int]) -> None:
    assert judge(text) == counts


def test_reference_facts_that_share_a_phrase_are_one() -> None:
    assert judge("A red dot.", ["a red dot", "the red dot", "a star"]) == (2, 1, 1)
    assert judge("An x. A y. A z.", [["x", "y"], ["z", "w"], ["y", "w"]]) == (1, 1, 1)


def test_score_is_of_sums() -> None:
    judged = [
        TASK.judge(Record("1", "a", "The word stop. A green square.", FACTS, {}), "strict"),
        TASK.judge(Record("2", "b", "A dot.", ["a dot"], {}), "strict"),
    ]
    score = TASK.score(judged)
    assert score["recall"] == pytest.approx(2 / 4) and score["precision"] == pytest.approx(2 / 3)
    assert score["f1"] == pytest.approx(2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3))
    assert score["stated"] == 1.5 and score["words"] == 4


def test_silence_has_no_precision_and_no_recall() -> None:
    score = TASK.score([TASK.judge(Record("1", "a", "", FACTS, {}), "official")])
    assert score["f1"] == 0 and score["recall"] == 0 and "precision" not in score


def test_splitting() -> None:
    assert statements("A dot. The dot.\na star") == ["dot", "star"]
    assert statements("There are 3.5 dots; a star") == ["3.5 dots", "star"]
    assert normal("The RED  circle, at the top-left") == "red circle at top left"
    assert normal("the there is") == "there is"


@pytest.mark.parametrize("answer", [[], [""], ["."], [[]], [3], ["a star", None]])
def test_bad_facts(answer, write, example) -> None:
    rows = example("caption")
    rows[0]["answer"] = answer
    with pytest.raises(TaskError, match="id 'c1': "):
        list(TASK.samples(write("c.jsonl", rows)))
