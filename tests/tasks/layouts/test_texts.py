"""TextVQA, VQAv2, VizWiz, GQA and video questions from files; the upload files of the servers."""

import json
from pathlib import Path

import pytest

from prunegrid.tasks import TaskError
from prunegrid.tasks.layouts import names, read
from prunegrid.tasks.layouts.answered import Answered, settle
from tasks.layouts import lab

HINT = "When the provided information is insufficient, respond with 'Unanswerable'."


def scored(answered: Answered) -> dict[str, float]:
    settle(answered)
    return answered.task.score([answered.task.judge(record, "official") for record in answered.records])


def ten(*answers: str) -> list[dict[str, str]]:
    """Ten people: the answers given, the last one repeated."""
    return [{"answer": a} for a in (*answers, *[answers[-1]] * (10 - len(answers)))]


def test_textvqa_finds_its_question_by_image_and_words(tmp_path: Path) -> None:
    questions = [
        {"image_id": "f1", "question": "What brand is IT?", "question_id": 34602, "answers": ["nokia"] * 10},
        {
            "image_id": "f1",
            "question": "What number?",
            "question_id": 34603,
            "answers": ["9"] * 3 + ["8"] * 7,
        },
    ]
    given = lab.dump(tmp_path / "TextVQA_0.5.1_val.json", {"dataset_type": "val", "data": questions})
    prompts = ["What brand is it?\nReference OCR token: NOKIA, 9", "What number?\nReference OCR token: "]
    said = [lab.answer("f1", f"{p}\n{lab.SHORT}", t) for p, t in zip(prompts, ("Nokia.", "9"), strict=True)]
    answered = read("textvqa", [lab.jsonl(tmp_path / "a.jsonl", said)], [given])
    assert scored(answered)["accuracy"] == pytest.approx(0.95)
    assert answered.notes == ["OCR words in 2 of 2 prompts"]
    plain = [lab.answer("f1", f"{p.split(chr(10))[0]}\n{lab.SHORT}", "9") for p in prompts]
    answered = read("textvqa_noocr", [lab.jsonl(tmp_path / "b.jsonl", plain)], [given])
    assert scored(answered)["accuracy"] == pytest.approx(0.45) and "0 of 2" in answered.notes[0]


def test_vqav2_val_is_scored_by_type(tmp_path: Path) -> None:
    rows = [
        {"question_id": 1, "image_id": 9, "answer_type": "yes/no", "answers": ten("yes")},
        {"question_id": 2, "image_id": 9, "answer_type": "number", "answers": ten("2", "3")},
    ]
    given = lab.dump(
        tmp_path / "v2_mscoco_val2014_annotations.json", {"info": {}, "annotations": rows}, indent=1
    )
    said = lab.jsonl(tmp_path / "a.jsonl", [lab.answer(1, "?", "Yes."), lab.answer(2, "?", "two")])
    found = scored(read("vqav2", [said], [given]))
    assert found["accuracy_yes/no"] == 1 and found["accuracy_number"] == pytest.approx(0.3)


def test_vqav2_upload_has_every_question_of_the_list(tmp_path: Path) -> None:
    listed = lab.jsonl(
        tmp_path / "test2015.jsonl", [{"question_id": i, "image": "x", "text": "?"} for i in (3, 1, 2)]
    )
    said = lab.jsonl(tmp_path / "merge.jsonl", [lab.answer(1, "?", "The Dog."), lab.answer(3, "?", "10,000")])
    made = read("vqav2", [said], [listed])
    assert made.upload == [
        {"question_id": 3, "answer": "10000"}, {"question_id": 1, "answer": "dog"}, {"question_id": 2, "answer": ""},
    ]  # fmt: skip
    assert made.notes == ["2 of 3 questions answered; the others get ''"]


def vizwiz(folder: Path) -> tuple[Path, Path]:
    names_ = [f"VizWiz_test_{i:08d}.jpg" for i in (0, 1)]
    listed = [
        {"question_id": i, "image": n, "text": "?", "category": "default"} for i, n in enumerate(names_)
    ]
    said = [
        lab.answer(i, f"?\n{HINT}\n{lab.SHORT}", t) for i, t in ((1, "The App Store"), (0, "Unanswerable"))
    ]
    return lab.jsonl(folder / "answers.jsonl", said), lab.jsonl(folder / "llava_test.jsonl", listed)


@pytest.mark.parametrize("given", ["question file", "test.json", "nothing"])
def test_vizwiz_upload_is_normalised_in_the_order_of_the_questions(tmp_path: Path, given: str) -> None:
    said, listed = vizwiz(tmp_path)
    rows = [{"image": f"VizWiz_test_{i:08d}.jpg", "question": "?"} for i in (0, 1)]
    files = {"question file": [listed], "test.json": [lab.dump(tmp_path / "test.json", rows)], "nothing": []}
    made = read("vizwiz", [said], files[given])
    expected = [
        {"image": "VizWiz_test_00000000.jpg", "answer": "unanswerable"},
        {"image": "VizWiz_test_00000001.jpg", "answer": "app store"},
    ]
    assert made.upload == (expected[::-1] if given == "nothing" else expected)
    assert made.records == [] and "nothing to score" in made.notes[0]


def test_vizwiz_val_is_scored_from_answers_and_from_an_upload(tmp_path: Path) -> None:
    rows = [
        {"image": "VizWiz_val_00000000.jpg", "question": "?", "answers": ten("unanswerable"),
         "answer_type": "unanswerable", "answerable": 0},
        {"image": "VizWiz_val_00000001.jpg", "question": "?", "answers": ten("app store", "shop"),
         "answer_type": "other", "answerable": 1},
    ]  # fmt: skip
    given = lab.dump(tmp_path / "val.json", rows)
    said, _ = vizwiz(tmp_path)
    made = read("vizwiz", [said], [given])
    found = scored(made)
    assert found["accuracy_answerable"] == pytest.approx(0.3) and found["accuracy_unanswerable"] == 1
    upload = lab.dump(tmp_path / "upload.json", made.upload)
    assert scored(read("vizwiz", [upload], [given])) == found


def test_vizwiz_upload_needs_every_answer(tmp_path: Path) -> None:
    said, listed = vizwiz(tmp_path)
    said.write_text(said.read_text(encoding="utf-8").split("\n")[0], encoding="utf-8")
    made = read("vizwiz", [said], [listed])
    assert made.upload is None and made.missing == ["VizWiz_test_00000000.jpg"]


@pytest.mark.parametrize("layout", ["answers", "predictions"])
def test_gqa_in_both_layouts_over_balanced_questions(tmp_path: Path, layout: str) -> None:
    kinds = (("20", "yes", "verify", True), ("21", "dog", "query", True), ("22", "no", "verify", False))
    rows = {
        name: {"imageId": "n1", "question": "?", "answer": a, "isBalanced": b, "types": {"structural": s}}
        for name, a, s, b in kinds
    }
    given = lab.dump(tmp_path / "testdev_balanced_questions.json", rows)
    if layout == "answers":
        said = lab.jsonl(
            tmp_path / "merge.jsonl", [lab.answer("20", "?", "Yes."), lab.answer("21", "?", "a dog")]
        )
    else:
        pairs = [{"questionId": "20", "prediction": "yes"}, {"questionId": "21", "prediction": "a dog"}]
        said = lab.dump(tmp_path / "predictions.json", pairs)
    assert scored(read("gqa", [said], [given])) == {"accuracy": 0.5, "binary": 1, "open": 0}


@pytest.mark.parametrize("task", ["msvd_qa", "msrvtt_qa", "activitynet_qa"])
def test_video_answers_by_exact_match_and_by_a_judges_file(tmp_path: Path, task: str) -> None:
    rows = [
        {"id": "v_1_0", "question": "who?", "answer": "man", "pred": "A man."},
        {"id": "v_1_1", "question": "what?", "answer": "guitar", "pred": "He plays the guitar"},
    ]
    found = scored(read(task, [lab.jsonl(tmp_path / "merge.jsonl", rows)], []))
    assert found == {"exact_match": 0.5, "unparsed": 0}
    verdicts = [{"pred": "yes", "score": 5}, {"pred": "yes", "score": 4}]
    file = {row["id"]: [v, {"q": row["question"], "a": row["answer"], "pred": row["pred"]}] for row, v in
            zip(rows, verdicts, strict=True)}  # fmt: skip
    judged = scored(read(task, [lab.dump(tmp_path / "results.json", file)], []))
    assert judged == {"exact_match": 0.5, "judge_accuracy": 1, "judge_points": 4.5, "unparsed": 0}


def test_video_questions_of_the_benchmark_give_the_video_as_cluster(tmp_path: Path) -> None:
    rows = [{"id": 5, "question": "who?", "answer": "man", "pred": "man"}]
    asked = lab.dump(tmp_path / "test_q.json", [{"question_id": 5, "video_name": "vid1", "question": "who?"}])
    right = lab.dump(tmp_path / "test_a.json", [{"question_id": 5, "answer": "man"}])
    made = read("msvd_qa", [lab.jsonl(tmp_path / "merge.jsonl", rows)], [asked, right])
    assert [(r.cluster, r.answer) for r in made.records] == [("vid1", "man")]


def test_every_benchmark_can_be_read() -> None:
    every = {"vqav2", "gqa", "vizwiz", "sqa_img", "textvqa", "textvqa_noocr", "pope", "mme", "mmbench", "mmbench_cn",
             "seed", "llava_wild", "mmvet", "msvd_qa", "msrvtt_qa", "activitynet_qa"}  # fmt: skip
    assert set(names()) == every
    with pytest.raises(TaskError, match="task 'pop': must be one of activitynet_qa"):
        read("pop", [], [])


def test_upload_files_are_json(tmp_path: Path) -> None:
    said, listed = vizwiz(tmp_path)
    assert json.loads(json.dumps(read("vizwiz", [said], [listed]).upload))
