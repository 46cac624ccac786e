"""The same questions as in official.py in parquet files with the columns and types that the hub's copies have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .official import TEN, picture


def image(colour: int, path: str | None = None, kind: str = "JPEG") -> dict[str, Any]:
    return {"bytes": picture(colour, kind), "path": path}


def save(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / name)


def pope(folder: Path) -> None:
    row = {"id": "0", "question_id": "1", "question": "Is there a dog in the imange?",
           "image_source": "COCO_val2014_000000000042", "image": image(1)}  # fmt: skip
    labels = {"random": "yes", "popular": "no", "adversarial": "no"}
    save(folder, "data/test-0-of-1.parquet", [{**row, "category": s, "answer": a} for s, a in labels.items()])


def mme(folder: Path) -> None:
    rows = [
        {"question_id": name, "image": image(n + 1), "category": name.split("/")[0], "answer": answer,
         "question": f"Is it {colour}? Please answer yes or no."}
        for n, name in enumerate(("color/1.jpg", "landmark/a.png"))
        for colour, answer in (("red", "Yes"), ("blue", "No"))
    ]  # fmt: skip
    save(folder, "data/test-0-of-1.parquet", rows)


def gqa(folder: Path) -> None:
    row = {"id": "01", "imageId": "n1", "question": "Is it red?", "answer": "yes", "fullAnswer": "Yes.",
           "isBalanced": True, "types": {"structural": "verify", "semantic": "attr"}}  # fmt: skip
    other = {
        "id": "03",
        "question": "Which colour?",
        "answer": "red",
        "types": {"structural": "query", "semantic": "x"},
    }
    rows = [row, {**row, **other}, {**row, "id": "04", "imageId": "n2"}]
    save(folder, "testdev_balanced_instructions/testdev-0.parquet", rows)
    pictures = [{"id": "n1", "image": image(1)}, {"id": "n2", "image": image(2)}]
    save(folder, "testdev_balanced_images/testdev-0.parquet", pictures)


def vizwiz(folder: Path) -> None:
    kinds = ("other", "unanswerable", "yes/no")
    rows = [
        {
            "question_id": f"VizWiz_val_0000000{n}.jpg",
            "image": image(n),
            "question": "What is it?",
            "answers": TEN,
            "category": k,
        }
        for n, k in enumerate(kinds)
    ]
    save(folder, "data/val-0-of-2.parquet", rows[:2])
    save(folder, "data/val-1-of-2.parquet", rows[2:])


def vqav2(folder: Path) -> None:
    answers = [{"answer": a, "answer_confidence": "yes", "answer_id": 1} for a in TEN]
    rows = [
        {"question_type": "what", "multiple_choice_answer": "red", "answers": answers, "image_id": 42,
         "answer_type": "other", "question_id": 420 + n, "question": f"What {n}?", "image": image(1)}
        for n in range(3)
    ]  # fmt: skip
    save(folder, "data/validation-0.parquet", rows)


def sqa_img(folder: Path) -> None:
    row = {
        "question": "Which?",
        "choices": ["a", "b"],
        "answer": 1,
        "hint": "See the map.",
        "task": "closed choice",
    }
    hints = [("See the map.", 1), ("", 2), ("See the map.", 1)]
    rows = [{**row, "hint": hint, "image": image(n, kind="PNG")} for hint, n in hints]
    save(folder, "ScienceQA-IMG/test-0.parquet", rows)


def textvqa(folder: Path) -> None:
    rows = [
        {"image_id": f"i{n}", "question_id": 34602 + n, "question": "What Brand?", "image": image(n), "answers": TEN,
         "ocr_tokens": ["STOP", "all, way"]}
        for n in range(3)
    ]  # fmt: skip
    save(folder, "data/validation-0.parquet", rows)


def mmbench(folder: Path, name: str = "data/dev-0.parquet") -> None:
    row = {"index": 241, "question": "Which?", "hint": "See.", "A": "red", "B": "blue", "C": "nan", "D": "nan",
           "answer": "A", "category": "c", "image": image(1), "source": "s",
           "L2-category": "l", "comment": "nan", "split": "dev"}  # fmt: skip
    turned = {"index": 1000241, "A": "blue", "B": "red", "answer": "B"}
    last = {
        "index": 5,
        "question": 'A "b"?',
        "hint": "nan",
        "A": "x",
        "B": "y",
        "C": "z",
        "D": "w",
        "answer": "D",
    }
    save(folder, name, [row, {**row, **turned}, {**row, **last}])


def mmbench_cn(folder: Path) -> None:
    mmbench(folder, "cn/dev-0.parquet")


def seed(folder: Path) -> None:
    row = {"answer": "A", **{f"choice_{c}": c for c in "abcd"}, "question": "Which?", "question_type_id": 1}
    rows = [
        {**row, "question_id": "101", "data_id": "1_2", "data_type": "image", "image": [image(1)]},
        {**row, "question_id": "102", "data_id": "1_2", "data_type": "image", "image": [image(1)]},
        {
            **row,
            "question_id": "103",
            "data_id": "clip.webm",
            "data_type": "video",
            "image": [image(9), image(2), image(8)],
        },
    ]
    save(folder, "data/test-0.parquet", rows)


def llava_wild(folder: Path) -> None:
    kinds = ("llava_bench_conv", "llava_bench_detail", "llava_bench_complex")
    rows = [
        {"question_id": n, "question": f"What {n}?", "image": image(1), "category": k, "caption": "A hill.",
         "gpt_answer": f"It is {n}."}
        for n, k in enumerate(kinds)
    ]  # fmt: skip
    save(folder, "data/train-0.parquet", rows)


def mmvet(folder: Path) -> None:
    row = {"image": image(1), "question": "What is x?", "answer": "-1 <OR> -5", "capability": "ocr,math"}
    save(folder, "data/test-0.parquet", [{**row, "question_id": f"v1_{n}"} for n in range(3)])
