"""Three questions of every benchmark, in the files that its authors publish; one function per benchmark."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

from PIL import Image

TEN = ["red"] * 7 + ["blue"] * 3


def picture(colour: int, kind: str = "JPEG") -> bytes:
    raw = io.BytesIO()
    Image.new("RGB", (8, 6), (colour, 0, 0)).save(raw, kind)
    return raw.getvalue()


def put(folder: Path, name: str, value: Any) -> None:
    """Bytes and text as they are; a list for .jsonl by lines; anything else as JSON."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(value, bytes):
        path.write_bytes(value)
    elif isinstance(value, str):
        path.write_text(value, encoding="utf-8")
    elif name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in value), encoding="utf-8")
    else:
        path.write_text(json.dumps(value), encoding="utf-8")


def archive(folder: Path, name: str, members: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as made:
        for member, data in members.items():
            made.writestr(member, data)


def pope(folder: Path) -> None:
    image = "COCO_val2014_000000000042.jpg"
    for split, label in (("random", "yes"), ("popular", "no"), ("adversarial", "no")):
        row = {"question_id": 1, "image": image, "text": "Is there a dog in the imange?", "label": label}
        put(folder, f"coco/coco_pope_{split}.json", json.dumps(row) + "\n")
    archive(folder, "val2014.zip", {f"val2014/{image}": picture(1)})


def mme(folder: Path) -> None:
    lines = "Is it red? Please answer yes or no.\tYes\nIs it blue? Please answer yes or no.\tNo\n"
    put(folder, "MME_Benchmark_release_version/color/1.txt", lines)
    put(folder, "MME_Benchmark_release_version/color/1.jpg", picture(1))
    put(folder, "MME_Benchmark_release_version/landmark/questions_answers_YN/a.txt", lines)
    put(folder, "MME_Benchmark_release_version/landmark/images/a.png", picture(2, "PNG"))


def gqa(folder: Path) -> None:
    row = {
        "imageId": "n1",
        "question": "Is it red?",
        "answer": "yes",
        "isBalanced": True,
        "types": {"structural": "verify"},
    }
    other = {**row, "question": "Which colour?", "answer": "red", "types": {"structural": "query"}}
    questions = {"01": row, "02": {**row, "isBalanced": False}, "03": other, "04": {**row, "imageId": "n2"}}
    put(folder, "testdev_balanced_questions.json", questions)
    archive(folder, "images.zip", {"images/n1.jpg": picture(1), "images/n2.jpg": picture(2)})


def vizwiz(folder: Path) -> None:
    rows = [
        {"image": f"VizWiz_val_0000000{n}.jpg", "question": "What is it?", "answer_type": kind, "answerable": 1,
         "answers": [{"answer": a, "answer_confidence": "yes"} for a in TEN]}
        for n, kind in enumerate(("other", "unanswerable", "yes/no"))
    ]  # fmt: skip
    put(folder, "Annotations/val.json", rows)
    archive(folder, "val.zip", {f"val/{row['image']}": picture(n) for n, row in enumerate(rows)})


def vqav2(folder: Path) -> None:
    asked = [{"question_id": 420 + n, "image_id": 42, "question": f"What {n}?"} for n in range(3)]
    said = [
        {"question_id": q["question_id"], "image_id": 42, "answer_type": "other", "question_type": "what",
         "multiple_choice_answer": "red", "answers": [{"answer": a, "answer_id": 1} for a in TEN]}
        for q in asked
    ]  # fmt: skip
    put(folder, "v2_OpenEnded_mscoco_val2014_questions.json", {"questions": asked})
    put(folder, "v2_mscoco_val2014_annotations.json", {"annotations": said})
    archive(folder, "val2014.zip", {"val2014/COCO_val2014_000000000042.jpg": picture(1)})


def sqa_img(folder: Path) -> None:
    row = {
        "question": "Which?",
        "choices": ["a", "b"],
        "answer": 1,
        "hint": "See the map.",
        "image": "image.png",
    }
    problems = {"7": row, "8": {**row, "image": None}, "9": {**row, "hint": ""}, "10": row, "11": row}
    put(folder, "problems.json", problems)
    put(folder, "pid_splits.json", {"train": ["11"], "test": ["7", "8", "9", "10"]})
    pictures = {f"test/{n}/image.png": picture(1 if n != "9" else 2, "PNG") for n in ("7", "9", "10")}
    archive(folder, "test.zip", pictures)


def textvqa(folder: Path) -> None:
    rows = [
        {"question_id": 34602 + n, "image_id": f"i{n}", "question": "What Brand?", "answers": TEN}
        for n in range(3)
    ]
    put(folder, "TextVQA_0.5.1_val.json", {"data": rows})
    words = [{"image_id": f"i{n}", "ocr_tokens": ["STOP", "all, way"]} for n in range(3)]
    put(folder, "TextVQA_Rosetta_OCR_v0.2_val.json", {"data": words})
    archive(folder, "train_val_images.zip", {f"train_images/i{n}.jpg": picture(n) for n in range(3)})


def _table(folder: Path, name: str) -> None:
    code = base64.b64encode(picture(1)).decode()
    head = ["index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image", "source"]
    rows = [
        ["241", "Which?", "See.", "red", "blue", "nan", "", "A", "c", code, "s"],
        ["1000241", "Which?", "See.", "blue", "red", "nan", "", "B", "c", "241", "s"],
        ["5", 'A "b"?', "nan", "x", "y", "z", "w", "D", "c", code, "s"],
    ]
    lines = [
        "\t".join('"' + f.replace('"', '""') + '"' if '"' in f else f for f in row) for row in [head, *rows]
    ]
    put(folder, name, "\n".join(lines) + "\n")


def mmbench(folder: Path) -> None:
    _table(folder, "mmbench_dev_20230712.tsv")


def mmbench_cn(folder: Path) -> None:
    _table(folder, "mmbench_dev_cn_20231003.tsv")


def seed(folder: Path) -> None:
    row = {"answer": "A", **{f"choice_{c}": c for c in "abcd"}, "question": "Which?", "question_type_id": 1}
    rows = [
        {**row, "question_id": "101", "data_id": "1_2", "data_type": "image"},
        {**row, "question_id": "102", "data_id": "1_2", "data_type": "image"},
        {**row, "question_id": "103", "data_id": "clip.webm", "data_type": "video", "segment": [1, 2]},
    ]
    put(folder, "SEED-Bench.json", {"question_type": {"Scene Understanding": 1}, "questions": rows})
    archive(folder, "SEED-Bench-image.zip", {"SEED-Bench-image/1_2": picture(1)})
    put(folder, "SEED-Bench-video-image/103.png", picture(2, "PNG"))


def llava_wild(folder: Path) -> None:
    kinds = ("llava_bench_conv", "llava_bench_detail", "llava_bench_complex")
    rows = [
        {"question_id": n, "image": "001.jpg", "text": f"What {n}?", "category": k}
        for n, k in enumerate(kinds)
    ]
    put(folder, "questions.jsonl", rows)
    put(folder, "context.jsonl", [{"id": "001", "image": "001.jpg", "caption": "A hill."}])
    put(folder, "answers_gpt4.jsonl", [{"question_id": n, "text": f"It is {n}."} for n in range(3)])
    put(folder, "images/001.jpg", picture(1))


def mmvet(folder: Path) -> None:
    row = {
        "imagename": "v1_0.png",
        "question": "What is x?",
        "answer": "-1 <OR> -5",
        "capability": ["ocr", "math"],
    }
    put(folder, "mm-vet.json", {f"v1_{n}": row for n in range(3)})
    put(folder, "images/v1_0.png", picture(1, "PNG"))
