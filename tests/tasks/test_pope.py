"""POPE: the official parse, constant answers, and sums by hand."""

import numpy as np
import pytest

from prunegrid.tasks import Record, TaskError
from prunegrid.tasks.pope import Pope, official_answer
from prunegrid.tasks.ratios import mcc
from prunegrid.tasks.yesno import strict_yes_no

TASK = Pope(file="pope.jsonl", prompt="{question}")
COUNTS = {"random": (1500, 1410), "popular": (1500, 1500), "adversarial": (1500, 1500)}


def questions(counts: dict[str, tuple[int, int]]) -> list[Record]:
    """Records of `counts` (yes, no) per split; cluster by number so that splits share images."""
    return [
        Record(f"{split}{i}", f"image{i % 500}", "", "yes" if i < yes else "no", {"split": split})
        for split, (yes, no) in counts.items()
        for i in range(yes + no)
    ]


def constant(text: str, counts: dict[str, tuple[int, int]], mode: str = "official") -> dict[str, float]:
    records = [Record(r.id, r.cluster, text, r.answer, r.meta) for r in questions(counts)]
    return TASK.score([TASK.judge(record, mode) for record in records])


@pytest.mark.parametrize(
    ("text", "official", "strict"),
    [
        ("Yes", "yes", "yes"),
        ("No", "no", "no"),
        ("no.", "no", "no"),
        ("NO", "yes", "no"),  # official knows No and no only
        ("none", "yes", None),
        ("", "yes", None),
        ("There is not a dog", "no", None),
        ("Yes, there is no dog", "no", None),  # strict: both words
        ("Yes. There is no cat", "yes", None),  # official reads up to the first period
        ("No, there is none", "no", "no"),
        ("no\nyes", "yes", None),  # official splits at spaces alone
        ("I say yes", "yes", None),
        ("Maybe", "yes", None),
    ],
)
def test_parse(text: str, official: str, strict: str | None) -> None:
    assert official_answer(text) == official
    assert strict_yes_no(text) == strict


def test_always_yes_scores_the_known_f1() -> None:
    score = constant("Yes", COUNTS)
    assert 100 * score["f1_random"] == pytest.approx(68.0, abs=0.05)
    assert 100 * score["f1_popular"] == pytest.approx(66.7, abs=0.05)
    assert 100 * score["f1"] == pytest.approx(67.1, abs=0.05)
    assert score["yes_rate"] == 1
    assert score["mcc"] == 0
    assert score["accuracy"] == pytest.approx((1500 / 2910 + 0.5 + 0.5) / 3)


def test_always_no_scores_zero_and_divides_by_nothing() -> None:
    score = constant("No", COUNTS)
    assert score["f1"] == 0 and score["f1_pooled"] == 0 and score["mcc"] == 0 and score["yes_rate"] == 0
    assert constant("No", {"random": (0, 3)})["f1"] == 0


def test_silence_is_yes_officially_and_wrong_strictly() -> None:
    assert constant("", COUNTS)["f1"] == constant("Yes", COUNTS)["f1"]
    strict = constant("", COUNTS, "strict")
    assert (
        strict["f1"] == 0 and strict["accuracy"] == 0 and strict["unparsed"] == 1 and strict["yes_rate"] == 0
    )


def test_mean_of_three_is_not_the_pooled_f1() -> None:
    # per split (tp, fp, tn, fn) = (3,1,1,1), (2,0,2,2), (1,2,0,1)
    rows = np.array([[3, 1, 1, 1, 4, 0], [2, 0, 2, 2, 2, 0], [1, 2, 0, 1, 3, 0]], float)
    score = TASK.metric(rows.reshape(-1))
    assert score["f1_random"] == pytest.approx(6 / 8)
    assert score["f1_popular"] == pytest.approx(4 / 6)
    assert score["f1_adversarial"] == pytest.approx(2 / 5)
    assert score["f1"] == pytest.approx((6 / 8 + 4 / 6 + 2 / 5) / 3)
    assert score["f1_pooled"] == pytest.approx(12 / 19)
    assert score["accuracy"] == pytest.approx((4 / 6 + 4 / 6 + 1 / 4) / 3)
    assert score["yes_rate"] == pytest.approx(9 / 16)
    # mcc of tp 6, fp 3, tn 3, fn 4 as a correlation of 0/1 sequences
    truth = [1] * 6 + [0] * 3 + [0] * 3 + [1] * 4
    said = [1] * 6 + [1] * 3 + [0] * 3 + [0] * 4
    assert score["mcc"] == pytest.approx(np.corrcoef(truth, said)[0, 1])
    assert float(mcc(*map(np.float64, (5, 0, 5, 0)))) == 1


def test_a_cluster_is_an_image_over_all_splits() -> None:
    records = questions({"random": (2, 1), "popular": (2, 1), "adversarial": (2, 1)})
    names, counts = TASK.counts([TASK.judge(record, "official") for record in records])
    assert names == ["image0", "image1", "image2"] and counts.shape == (3, 18)
    assert counts[0].reshape(3, 6)[:, 0].tolist() == [1, 1, 1]


def test_a_trial_without_a_split_says_what_it_has() -> None:
    score = constant("Yes", {"random": (3, 1)})
    assert score["f1"] == score["f1_random"] and "f1_popular" not in score


def test_metric_is_vectorised() -> None:
    many = np.arange(2 * 5 * 18, dtype=float).reshape(2, 5, 18)
    whole = TASK.metric(many)
    assert whole["f1"].shape == (2, 5)
    for name, value in TASK.metric(many[1, 3]).items():
        assert whole[name][1, 3] == pytest.approx(value), name


@pytest.mark.parametrize(("field", "value"), [("answer", "Yes"), ("split", "train")])
def test_bad_rows(field, value, write, example) -> None:
    rows = example("pope")
    rows[1][field] = value
    with pytest.raises(TaskError, match=rf"id 'p2': {field} '{value}' must be"):
        list(TASK.samples(write("pope.jsonl", rows)))
