"""MME: the official parse, pairs, sums."""

import numpy as np
import pytest

from prunegrid.tasks import TaskError, limit_clusters
from prunegrid.tasks.mme import Mme, official_answer

TASK = Mme(file="mme.jsonl", prompt="{question}")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Yes", "yes"),
        ("NO", "no"),
        ("no.", "no"),
        ("Not sure", "no"),  # "no" within the first four characters
        ("Yes, there is no dog", "yes"),
        ("I know", None),  # "no" comes later
        ("A: yes", None),
        ("eyes", "yes"),
        ("", None),
    ],
)
def test_official_parse(text: str, answer: str | None) -> None:
    assert official_answer(text) == answer


def test_pairs_by_hand(write, example, judged_with) -> None:
    """count: both right = 100 + 100; color: one of two = 50 + 0."""
    data = write("mme.jsonl", example("mme"))
    judged = judged_with(TASK, data, ["Yes", "No", "yes", "yes"])
    score = TASK.score(judged)
    assert score["count"] == 200 and score["color"] == 50
    assert score["perception"] == 250 and score["total"] == 250
    assert score["acc"] == 0.75 and score["acc+"] == 0.5
    assert "cognition" not in score and "existence" not in score


def test_pairs_are_found_by_key_whatever_the_order(write, example, judged_with) -> None:
    rows = [example("mme")[i] for i in (0, 2, 1, 3)]
    judged = judged_with(TASK, write("mme.jsonl", rows), ["yes", "yes", "no", "yes"])
    assert TASK.score(judged) == TASK.score(list(reversed(judged)))
    assert TASK.score(judged)["count"] == 200 and TASK.score(judged)["color"] == 50


def test_no_answer_is_wrong_in_both_modes(write, example, judged_with) -> None:
    data = write("mme.jsonl", example("mme"))
    for mode in ("official", "strict"):
        score = TASK.score(judged_with(TASK, data, [""] * 4, mode))
        assert score["perception"] == 0 and score["unparsed"] == 1
    official, strict = (
        TASK.score(judged_with(TASK, data, ["not sure"] * 4, m)) for m in ("official", "strict")
    )
    assert official["acc"] == 0.5 and strict["acc"] == 0


def test_half_a_pair_is_an_error_not_a_score(write, example, judged_with) -> None:
    judged = judged_with(TASK, write("mme.jsonl", example("mme")), ["yes"] * 4)
    with pytest.raises(TaskError, match=r"pair 'color/images/a.png': 1 of 2 questions \(id 'm3'\)"):
        TASK.counts(judged[:3])
    with pytest.raises(TaskError, match="1 of 2 questions"):
        list(TASK.samples(write("mme.jsonl", example("mme")[:3])))


def test_a_pair_lies_in_one_cluster(write, example) -> None:
    rows = example("mme")
    rows[1]["cluster"] = "b"
    with pytest.raises(TaskError, match=r"lies in several clusters \(a, b\)"):
        list(TASK.samples(write("mme.jsonl", rows)))


def test_unknown_subtask_names_the_known_ones(write, example) -> None:
    rows = example("mme")
    rows[0]["subtask"] = "counting"
    with pytest.raises(TaskError, match=r"id 'm1': subtask 'counting' must be one of existence, count"):
        list(TASK.samples(write("mme.jsonl", rows)))


def test_own_subtasks_and_scale() -> None:
    mini = Mme.from_config(
        {"_target_": "x", "file": "f", "prompt": "p", "perception": ["count", "ocr"], "cognition": []}
    )
    assert mini.scale == 400 and TASK.scale == 2000
    cells = np.array([[4, 3, 2, 1, 0], [2, 2, 1, 1, 0]], float)
    score = mini.metric(cells.reshape(-1))
    assert score["perception"] == pytest.approx(75 + 50 + 200)
    assert "cognition" not in score


def test_perception_and_cognition_are_apart() -> None:
    cells = np.zeros((14, 5))
    cells[0] = [4, 4, 2, 2, 0]
    cells[10] = [4, 2, 2, 0, 0]
    score = TASK.metric(cells.reshape(-1))
    assert (score["perception"], score["cognition"], score["total"]) == (200, 50, 250)


def test_trial_run_keeps_pairs(write, example, judged_with) -> None:
    rows = example("mme") + [
        {**row, "id": row["id"] + "x", "cluster": "b", "image": "images/b.png"} for row in example("mme")
    ]
    samples = list(TASK.samples(write("mme.jsonl", rows)))
    kept = limit_clusters(samples, 7)
    assert [sample.id for sample in kept] == ["m1", "m2", "m3", "m4"]
    TASK.counts([TASK.judge(sample.record("yes"), "official") for sample in kept])
    assert limit_clusters(samples, None) == samples and len(limit_clusters(samples, 1)) == 4
    with pytest.raises(TaskError, match="limit 0"):
        limit_clusters(samples, 0)
