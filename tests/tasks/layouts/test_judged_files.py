"""LLaVA-Bench reviews and MM-Vet grades: one run and several, official and strict."""

from pathlib import Path
from typing import Any

import pytest

from prunegrid.tasks import TaskError
from prunegrid.tasks.layouts import read
from prunegrid.tasks.layouts.answered import Answered, settle
from tasks.layouts import lab

KINDS = ("conv", "detail", "complex")


def review(path: Path, pairs: list[tuple[float, float]]) -> Path:
    """A file of eval_gpt_review_bench.py; question i has category i % 3."""
    return lab.jsonl(path, [
        {"id": i + 1, "question_id": i, "answer1_id": "a", "answer2_id": "b", "category": f"llava_bench_{KINDS[i % 3]}",
         "content": f"{one} {two}\nwhy", "tuple": [one, two]}
        for i, (one, two) in enumerate(pairs)
    ])  # fmt: skip


def scored(answered: Answered, mode: Any = "official") -> dict[str, float]:
    settle(answered)
    return answered.task.score([answered.task.judge(record, mode) for record in answered.records])


# The points that the judge gave LLaVA-1.5-7B in the first of its three published runs, question by question:
# llava-bench-in-the-wild/reviews/llava-v1.5-7b-eval1.jsonl of LLaVA's evaluation files. Printed: 64.7.
PUBLISHED = (
    "7 9,8 6,8 6,9 8,9 2,9 2,9 2,8 7.5,9 6,8 9,9 8.5,10 10,8 6,9 7,8 7,8 9,9 8.5,9 5,9 7.5,9 4,9 7.5,9 2,8 7.5,9 7.5,"
    "9 8,8 5,8 6,9 9,9 2,9 2,9 4,8 6,10 10,9 6.5,5 7,9 6,9 4,9 2,9 2,9 3,9 3,9 2,9 4,9 6,9 6,9 2,9 6,9 2,9 7,7 4,9 6,"
    "9 1,9 3,8 7,10 10,9 6,9 7,9 6,9 9,8 4"
)


def test_the_first_published_run_has_the_printed_digit(tmp_path: Path) -> None:
    pairs = [(float(a), float(b)) for a, b in (pair.split() for pair in PUBLISHED.split(","))]
    found = scored(read("llava_wild", [review(tmp_path / "eval1.jsonl", pairs)], []))
    assert f"{100 * found['score']:.1f}" == "64.7" and f"{100 * found['score_exact']:.1f}" == "64.8"


def test_reviews_of_three_runs(tmp_path: Path) -> None:
    runs = [[(8, 6), (9, 6), (8, 7.5)], [(10, 10), (8, 4), (8, 8)], [(9, 2), (9, 3), (9, 4)]]
    files = [
        review(tmp_path / f"llava-v1.5-7b-eval{i}.jsonl", pairs) for i, pairs in enumerate(runs, start=1)
    ]
    found = scored(read("llava_wild", files, []))
    each = [sum(b for _, b in run) / sum(a for a, _ in run) for run in runs]
    assert [found[f"score_run{i}"] for i in (1, 2, 3)] == pytest.approx(each, abs=1e-4)  # means are rounded
    assert found["score_exact"] == pytest.approx(sum(each) / 3)
    assert found["score"] == pytest.approx(sum(each) / 3, abs=1e-4)
    assert found["score_conv"] == pytest.approx((6 / 8 + 10 / 10 + 2 / 9) / 3, abs=1e-4)
    assert scored(read("llava_wild", files[:1], []))["score_exact"] == pytest.approx(19.5 / 25)


def test_an_unread_review_counts_officially_and_is_left_out_strictly(tmp_path: Path) -> None:
    answered = read("llava_wild", [review(tmp_path / "r.jsonl", [(8, 6), (-1, -1), (8, 6)])], [])
    assert "1 reviews were not readable" in answered.notes[1]
    assert scored(answered)["score"] == pytest.approx(11 / 15, abs=1e-4) and scored(answered)["unparsed"] == 1
    assert scored(answered, "strict")["score"] == pytest.approx(12 / 16)


def test_a_review_file_that_was_cut_is_missing_questions(tmp_path: Path) -> None:
    files = [review(tmp_path / "1.jsonl", [(8, 6)] * 3), review(tmp_path / "2.jsonl", [(8, 6)] * 2)]
    with pytest.raises(TaskError, match=r"1 questions have no answer \(first: 2 \(run 2\)"):
        scored(read("llava_wild", files, []))


def test_answers_to_judge_carry_what_the_judge_needs(tmp_path: Path) -> None:
    answers = lab.jsonl(tmp_path / "a.jsonl", [lab.answer(0, "?", "a volcano")])
    files = [
        lab.jsonl(tmp_path / "questions.jsonl", [{"question_id": 0, "image": "001.jpg", "text": "?", "category": "conv"}]),
        lab.jsonl(tmp_path / "context.jsonl", [{"id": "001", "image": "001.jpg", "caption": "Diamond Head"}]),
        lab.jsonl(tmp_path / "answers_gpt4.jsonl", [{"question_id": 0, "text": "Diamond Head", "answer_id": "x"}]),
    ]  # fmt: skip
    (record,) = read("llava_wild", [answers], files).records
    assert (record.cluster, record.answer) == ("001.jpg", "Diamond Head")
    assert record.meta == {"category": "conv", "asked": "?", "caption": "Diamond Head"}
    with pytest.raises(TaskError, match="record '0': no judgement is stored; ask a judge"):
        scored(read("llava_wild", [answers], files))
    with pytest.raises(TaskError, match="answers without reviews: pass questions"):
        read("llava_wild", [answers], [])


def grades(path: Path, rows: list[list[float]]) -> Path:
    """A file of MM-Vet's evaluator: one list of scores, one per run, for each question."""
    made = {
        f"v1_{i}": {"model": ["gpt-4"] * len(s), "content": [str(x) for x in s], "score": s}
        for i, s in enumerate(rows)
    }
    return lab.dump(path, made, indent=4)


def test_grades_of_one_file_with_several_runs_and_of_several_files(tmp_path: Path) -> None:
    whole = grades(tmp_path / "m_gpt-4-grade-3runs.json", [[0.6, 0.6, 0.3], [0.0, 0.1, 0.2]])
    found = scored(read("mmvet", [whole], []))
    assert [found[f"score_run{i}"] for i in (1, 2, 3)] == pytest.approx([0.3, 0.35, 0.25])
    assert found["score"] == pytest.approx(0.3)
    apart = [
        grades(tmp_path / f"{k}.json", [[a], [b]])
        for k, (a, b) in enumerate(((0.6, 0), (0.6, 0.1), (0.3, 0.2)))
    ]
    assert scored(read("mmvet", apart, [])) == pytest.approx(found)


def test_grades_by_capability(tmp_path: Path) -> None:
    questions = {
        "v1_0": {"imagename": "a.jpg", "question": "?", "answer": "x", "capability": ["ocr", "math"]},
        "v1_1": {"imagename": "b.jpg", "question": "?", "answer": "y", "capability": ["ocr", "rec"]},
    }
    given = lab.dump(tmp_path / "mm-vet.json", questions)
    found = scored(read("mmvet", [grades(tmp_path / "g.json", [[1.0], [0.5]])], [given]))
    assert (found["score"], found["score_ocr"], found["score_math"], found["score_rec"]) == (
        0.75,
        0.75,
        1,
        0.5,
    )
    assert "score_know" not in found


@pytest.mark.parametrize(
    ("rows", "message"),
    [([[0.5], [0.1, 0.2]], r"grades have \[1, 2\] runs"), ([[1.5]], "judgement 1.5 is not between 0 and 1")],
)
def test_bad_grades(tmp_path: Path, rows: list[list[float]], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        scored(read("mmvet", [grades(tmp_path / "g.json", rows)], []))


def test_answers_of_mmvet_in_both_layouts(tmp_path: Path) -> None:
    questions = {"v1_0": {"imagename": "a.jpg", "question": "x?", "answer": "x", "capability": ["ocr"]}}
    given = lab.dump(tmp_path / "mm-vet.json", questions)
    plain = lab.dump(tmp_path / "llava-v1.5-13b.json", {"v1_0": "It is x."})
    raw = lab.jsonl(tmp_path / "llava-v1.5-13b.jsonl", [lab.answer(0, "x?", "It is x.")])
    assert read("mmvet", [plain], [given]).records == read("mmvet", [raw], [given]).records
