"""ScienceQA, MMBench and SEED from files."""

from pathlib import Path
from typing import Any

import pytest

from prunegrid.tasks import TaskError
from prunegrid.tasks.layouts import read
from prunegrid.tasks.layouts.answered import Answered, settle
from prunegrid.tasks.layouts.sheet import read_table
from tasks.layouts import lab

SQA = {  # id -> (choices, right index, has an image)
    "4": (["chiasmus", "apostrophe"], 1, False),
    "5": (["damaged", "steady", "swing"], 1, True),
    "62": (["Phoenix", "Cheyenne"], 1, True),
    "95": (["Maine", "Kansas"], 0, True),
}
SAID = {"4": "B", "5": "B. steady", "62": "C", "95": "The answer is A."}  # C is not offered


def scored(answered: Answered) -> dict[str, float]:
    settle(answered)
    return answered.task.score([answered.task.judge(record, "official") for record in answered.records])


def sqa(folder: Path) -> dict[str, Path]:
    talks, problems, right, wrong, raw = [], {}, [], [], []
    for name, (choices, index, pictured) in SQA.items():
        lines = "\n".join(f"{'ABCDE'[i]}. {c}" for i, c in enumerate(choices))
        asked = ("<image>\n" if pictured else "") + f"Which?\n{lines}"
        turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": "ABCDE"[index]}]
        talk: dict[str, Any] = {"id": name, "conversations": turns}
        talks.append(talk | ({"image": f"{name}/image.png"} if pictured else {}))
        image = "image.png" if pictured else None
        problems[name] = {
            "question": "Which?",
            "choices": choices,
            "answer": index,
            "image": image,
            "split": "test",
        }
        prompt = f"{asked}\n{lab.LETTER}"
        raw.append(lab.answer(name, prompt, SAID[name]))
        analysis = {"question_id": name, "question": prompt, "pred": SAID[name], "is_multimodal": pictured}
        (wrong if name == "62" else right).append(analysis)
    problems["7"] = {**problems["4"], "split": "train"}
    return {
        "cqm": lab.dump(folder / "llava_test_CQM-A.json", talks, indent=2),
        "problems": lab.dump(folder / "problems.json", problems),
        "splits": lab.dump(folder / "pid_splits.json", {"train": ["7"], "test": list(SQA)}),
        "raw": lab.jsonl(folder / "llava-v1.5-13b.jsonl", raw),
        "output": lab.dump(
            folder / "llava-v1.5-13b_output.jsonl", {"correct": right, "incorrect": wrong}, indent=2
        ),
        "result": lab.dump(folder / "llava-v1.5-13b_result.json", {"acc": 75.0, "outputs": SAID}, indent=2),
    }


@pytest.mark.parametrize("answers", ["raw", "output", "result"])
@pytest.mark.parametrize("given", [["cqm"], ["problems", "splits"], ["problems"]])
def test_scienceqa_in_every_layout(tmp_path: Path, answers: str, given: list[str]) -> None:
    files = sqa(tmp_path)
    found = scored(read("sqa_img", [files[answers]], [files[name] for name in given]))
    assert found["img_accuracy"] == pytest.approx(2 / 3) and found["accuracy"] == 0.75
    assert found["text_accuracy"] == 1 and found["unparsed"] == 0


def test_scienceqa_answers_of_another_split(tmp_path: Path) -> None:
    files = sqa(tmp_path)
    lab.jsonl(files["raw"], [lab.answer("7", "Which?", "B")])
    with pytest.raises(
        TaskError, match=r"4 questions have no answer .*1 answers belong to no question \(first: 7"
    ):
        scored(read("sqa_img", [files["raw"]], [files["cqm"]]))


ROWS = [  # two questions of two choices: the second's rotation is answered wrongly
    {"index": 241, "A": "red", "B": "blue", "answer": "A", "prediction": "A"},
    {"index": 1000241, "A": "blue", "B": "red", "answer": "B", "prediction": "B"},
    {"index": 7, "A": "left", "B": "right", "answer": "B", "prediction": "B"},
    {"index": 1000007, "A": "right", "B": "left", "answer": "A", "prediction": "B. left"},
]
HEAD = ["index", "question", "A", "B", "C", "D", "prediction", "answer", "split"]


def upload(path: Path, rows: list[dict[str, Any]], **how: Any) -> Path:
    lines = [[{"question": "Which\tone?", "split": "dev", **row}.get(name) for name in HEAD] for row in rows]
    return lab.workbook(path, [HEAD, *lines], **how)


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    head = ["index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image", "source"]
    said = [{"question": 'a "quoted" one', "image": "x" * 200_000, **row} for row in rows]
    lines = ["\t".join('"' + str(row.get(n, "")).replace('"', '""') + '"' for n in head) for row in said]
    path.write_text("\n".join(["\t".join(head), *lines]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "layout", ["xlsx alone", "xlsx inline", "xlsx and tsv", "jsonl and tsv", "jsonl and xlsx"]
)
@pytest.mark.parametrize("task", ["mmbench", "mmbench_cn"])
def test_mmbench_in_every_layout(tmp_path: Path, layout: str, task: str) -> None:
    book = upload(tmp_path / "llava-v1.5-13b.xlsx", ROWS, shared="inline" not in layout)
    tsv = table(tmp_path / "mmbench_dev_20230712.tsv", ROWS)
    raw = lab.jsonl(tmp_path / "a.jsonl", [lab.answer(r["index"], "?", r["prediction"]) for r in ROWS])
    answers = [raw] if layout.startswith("jsonl") else [book]
    given = {"tsv": [tsv], "and xlsx": [book]}.get(
        next((k for k in ("tsv", "and xlsx") if k in layout), ""), []
    )
    found = scored(read(task, answers, given))
    assert found == {"circular": 0.5, "first": 1, "rows": 0.75, "unparsed": 0.25}


def test_mmbench_empty_cell_is_a_missing_answer(tmp_path: Path) -> None:
    book = upload(tmp_path / "a.xlsx", [*ROWS[:3], {**ROWS[3], "prediction": None}])
    with pytest.raises(TaskError, match=r"1 questions have no answer \(first: 1000007"):
        scored(read("mmbench", [book], []))


def test_mmbench_test_split_has_no_letters(tmp_path: Path) -> None:
    book = upload(tmp_path / "a.xlsx", [{**row, "answer": None} for row in ROWS])
    with pytest.raises(TaskError, match="no column answer: this split is scored by the benchmark's server"):
        read("mmbench", [book], [])


def test_a_cut_workbook_and_a_cut_table_are_named(tmp_path: Path) -> None:
    book = upload(tmp_path / "a.xlsx", ROWS)
    book.write_bytes(book.read_bytes()[:300])
    with pytest.raises(TaskError, match=r"a\.xlsx: not a readable \.xlsx"):
        read_table(book)
    tsv = table(tmp_path / "b.tsv", ROWS)
    tsv.write_text(tsv.read_text(encoding="utf-8")[:-250_000], encoding="utf-8")
    with pytest.raises(TaskError, match=r"b\.tsv.*cut"):
        read_table(tsv)


def test_cells_keep_their_text(tmp_path: Path) -> None:
    path = lab.workbook(
        tmp_path / "a.xlsx", [["index", "text"], [7, " 1 < 2 & 3 "], [8.0, None], [9, "直接"]]
    )
    assert read_table(path) == [
        {"index": "7", "text": " 1 < 2 & 3 "},
        {"index": "8"},
        {"index": "9", "text": "直接"},
    ]


def seed(folder: Path, ids: list[str]) -> Path:
    kinds = {"Scene Understanding": 1, "Action Prediction": 11}
    rows = [
        {
            "question_id": name, "question": "?", "answer": "A", "data_id": name, "question_type_id": 11 if v else 1,
            "data_type": "video" if v else "image", **{f"choice_{c}": c for c in "abcd"},
        }
        for name in ids
        for v in [name.startswith("v")]
    ]  # fmt: skip
    return lab.dump(folder / "SEED-Bench.json", {"question_type": kinds, "questions": rows})


@pytest.mark.parametrize("field", ["text", "prediction"])
def test_seed_by_both_layouts_and_cuts(tmp_path: Path, field: str) -> None:
    said = [
        {"question_id": q, field: t} for q, t in (("101669", "A"), (7, "A dog"), ("v1", "A"), ("v2", "B"))
    ]
    answers = lab.jsonl(tmp_path / "a.jsonl", said)
    whole = scored(read("seed", [answers], [seed(tmp_path, ["101669", "7", "v1", "v2"])]))
    assert (whole["accuracy"], whole["accuracy_image"], whole["accuracy_video"]) == (0.5, 0.5, 0.5)
    assert whole["accuracy_Scene Understanding"] == 0.5 and whole["accuracy_Action Prediction"] == 0.5
    smaller = read("seed", [answers], [seed(tmp_path, ["101669", "7", "v1"])])
    assert smaller.notes[1] == "1 answers are to questions that this cut of the file does not have"
    assert scored(smaller)["accuracy_video"] == 1
    with pytest.raises(TaskError, match=r"1 questions have no answer \(first: v3"):
        scored(read("seed", [answers], [seed(tmp_path, ["101669", "7", "v1", "v3"])]))
