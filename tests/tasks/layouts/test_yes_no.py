"""POPE and MME from files: every layout gives the same numbers, which are known by hand."""

import json
from pathlib import Path

import pytest

from prunegrid.tasks import TaskError
from prunegrid.tasks.layouts import read
from prunegrid.tasks.layouts.answered import settle
from prunegrid.tasks.mme import PERCEPTION, Mme
from tasks.layouts import lab

LABELS = {
    "random": ["yes", "no", "yes"],
    "popular": ["yes", "no", "yes", "no"],
    "adversarial": ["yes", "no"] * 2,
}
SAID = {
    "random": ["Yes", "No", "No"],
    "popular": ["Yes", "Yes", "Yes", "No"],
    "adversarial": ["Yes", "No"] * 2,
}
# tp, fp, fn: random 1, 0, 1; popular 2, 1, 0; adversarial 2, 0, 0
F1 = {"random": 2 / 3, "popular": 4 / 5, "adversarial": 1.0}


def scores(
    task: str, answers: list[Path], annotations: list[Path], mode: str = "official"
) -> dict[str, float]:
    answered = settle(read(task, answers, annotations))
    return answered.task.score([answered.task.judge(r, mode) for r in answered.records])  # type: ignore[arg-type]


@pytest.mark.parametrize("with_questions", [True, False])
def test_pope_with_and_without_llavas_question_file(tmp_path: Path, with_questions: bool) -> None:
    answers, files = lab.pope(tmp_path, SAID, LABELS)
    found = scores("pope", [answers], files if with_questions else files[:3])
    assert {name: found[f"f1_{name}"] for name in F1} == pytest.approx(F1)
    assert found["f1"] == pytest.approx(sum(F1.values()) / 3)


def test_pope_takes_the_folder_of_annotations(tmp_path: Path) -> None:
    answers, files = lab.pope(tmp_path, SAID, LABELS)
    assert scores("pope", [answers], [tmp_path / "coco"]) == scores("pope", [answers], files)


def test_pope_questions_of_one_image_are_one_cluster_over_the_splits(tmp_path: Path) -> None:
    answers, files = lab.pope(tmp_path, SAID, LABELS)
    answered = read("pope", [answers], files)
    assert {r.cluster for r in answered.records} == {f"COCO_val2014_{i:012d}.jpg" for i in (0, 1)}


def test_pope_spelling_of_later_files_is_the_same_question_and_is_said(tmp_path: Path) -> None:
    answers, files = lab.pope(tmp_path, SAID, LABELS)
    for file in files[:3]:
        file.write_text(file.read_text(encoding="utf-8").replace("imange", "image"), encoding="utf-8")
    for given in (files, files[:3]):
        answered = settle(read("pope", [answers], given))
        assert answered.notes == ["3 questions are spelled otherwise than in the annotations (imange, image)"]
        assert len(answered.records) == 11


def test_pope_questions_that_llavas_file_does_not_have_are_missing(tmp_path: Path) -> None:
    answers, files = lab.pope(tmp_path, SAID, LABELS)
    listed = files[3].read_text(encoding="utf-8").splitlines()
    files[3].write_text("\n".join(listed[:-1]) + "\n", encoding="utf-8")
    said = answers.read_text(encoding="utf-8").splitlines()
    answers.write_text("\n".join(said[:-1]) + "\n", encoding="utf-8")
    assert read("pope", [answers], files).missing == ["popular 4"]


def test_pope_annotations_of_other_questions_are_refused(tmp_path: Path) -> None:
    answers, files = lab.pope(tmp_path, SAID, LABELS)
    rows = [json.loads(line) for line in files[0].open(encoding="utf-8")]
    lab.jsonl(files[0], [{**row, "text": "Is there a dog in the image?"} for row in rows])
    with pytest.raises(TaskError, match="4 of 11 prompts ask something else"):
        read("pope", [answers], files[:3])
    with pytest.raises(TaskError, match="do not ask 'is there a adversarial thing 1"):
        read("pope", [answers], files)


def test_pope_one_file_of_labels_says_so(tmp_path: Path) -> None:
    answers, _ = lab.pope(tmp_path, SAID, LABELS)
    answered = read("pope", [answers], [tmp_path / "coco" / "coco_pope_random.json"])
    assert len(answered.unknown) == 8 and answered.notes == [
        "no labels for popular, adversarial: the mean of F1 is over random alone"
    ]


def everything(right: str) -> dict[str, list[str]]:
    """Answers of two pairs in each of the 14 sub-tasks: all right, but the ones named."""
    return {name: ["Yes", "No", "Yes", "No"] if name != right else ["Yes", "Yes", "No", "No"] for name in Mme(
        file="f", prompt="").subtasks}  # fmt: skip


@pytest.mark.parametrize("given", [["template"], ["release"], ["questions"], ["questions", "template"]])
def test_mme_by_every_source_of_labels(tmp_path: Path, given: list[str]) -> None:
    files = lab.mme(tmp_path, everything("count"))
    found = scores("mme", [files["answers"]], [files[name] for name in given])
    # count: two of four right, no pair whole: 50 + 0
    assert found["count"] == 50 and found["OCR"] == 200
    assert found["perception"] == 200 * (len(PERCEPTION) - 1) + 50 and found["cognition"] == 800


def test_mme_says_when_labels_come_from_the_order(tmp_path: Path) -> None:
    files = lab.mme(tmp_path, everything("count"))
    assert "yes before no" in read("mme", [files["answers"]], [files["questions"]]).notes[0]
    assert read("mme", [files["answers"]], [files["template"]]).notes == []


def test_mme_without_any_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no labels: pass the eval tool's folder"):
        read("mme", [lab.mme(tmp_path, everything(""))["answers"]], [])


def test_mme_the_tools_own_folder_needs_nothing_else(tmp_path: Path) -> None:
    files = lab.mme(tmp_path, everything("color"))
    assert scores("mme", [files["results"]], []) == scores("mme", [files["answers"]], [files["template"]])


def test_mme_labels_decide_and_not_the_order(tmp_path: Path) -> None:
    files = lab.mme(tmp_path, everything(""))
    file = files["template"] / "count.txt"
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(lines[i] for i in (1, 0, 3, 2)) + "\n", encoding="utf-8")
    assert scores("mme", [files["answers"]], [files["template"]])["count"] == 200


def test_mme_a_missing_subtask_is_missing_and_no_smaller_sum(tmp_path: Path) -> None:
    said = everything("")
    del said["OCR"]
    files = lab.mme(tmp_path, said)
    with pytest.raises(TaskError, match=r"1 questions have no answer \(first: OCR"):
        settle(read("mme", [files["answers"]], [files["template"]]))


def test_mme_tab_in_an_answer_is_named(tmp_path: Path) -> None:
    files = lab.mme(tmp_path, everything(""))
    file = files["results"] / "OCR.txt"
    file.write_text(
        file.read_text(encoding="utf-8").replace("\tYes\tYes", "\tYes\tYes\tsir", 1), encoding="utf-8"
    )
    with pytest.raises(TaskError, match=r"OCR.txt line 1: 5 columns"):
        read("mme", [files["results"]], [])


def test_mme_half_a_pair_is_an_error(tmp_path: Path) -> None:
    files = lab.mme(tmp_path, {"count": ["Yes", "No", "Yes"]})
    with pytest.raises(TaskError, match="count/0001: 1 questions; the benchmark asks two"):
        read("mme", [files["answers"]], [files["template"]])


def test_mme_template_is_no_answer_file(tmp_path: Path) -> None:
    files = lab.mme(tmp_path, everything(""))
    with pytest.raises(TaskError, match="the answers hold questions and labels only"):
        read("mme", [files["template"]], [])
