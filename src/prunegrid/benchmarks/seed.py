"""SEED-Bench-1: pictures, and one middle frame per video. Source: SEED-Bench.json with SEED-Bench-image and the frames
that LLaVA's extract_video_frames.py wrote; its copy on the hub, which has every frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from prunegrid.benchmarks import parquet
from prunegrid.benchmarks.canonical import Item
from prunegrid.benchmarks.tree import Bytes, Tree

REPOSITORY, PATTERNS = "SEED-Bench", ("data/test-*.parquet",)
COUNTS = {
    19242: "as printed with LLaVA-1.5",
    17990: "today's file",
    14233: "its questions about pictures alone",
}
LETTERS = "abcd"
COLUMNS = {"question_id": "name", "image": "pictures", "question": "text", "answer": "text", "data_type": "text",
           "question_type_id": "whole", "data_id": "name", **{f"choice_{c}": "text" for c in LETTERS}}  # fmt: skip


def read(tree: Tree) -> Iterator[Item]:
    if tree.has("*.parquet"):
        for row in parquet.rows(tree, "test-*.parquet", COLUMNS):
            frames = row["image"]
            name = str(row["question_id"])
            _, data = parquet.picture(frames[len(frames) // 2] if frames else None, name)
            yield _item(row, data, {})
        return
    whole = tree.json("SEED-Bench.json")
    kinds = {number: name for name, number in whole.get("question_type", {}).items()}
    for row in whole["questions"]:
        video = row["data_type"].lower() == "video"
        frames = [f"{row['question_id']}{end}" for end in (".png", ".jpg")]
        _, data = tree.picture(frames if video else [str(row["data_id"])])
        yield _item(row, data, kinds)


def _item(row: Mapping[str, Any], data: Bytes, kinds: Mapping[int, str]) -> Item:
    name, kind = str(row["question_id"]), row["data_type"].lower()
    place = f"video-{name}" if kind == "video" else f"image-{PurePosixPath(str(row['data_id'])).name}"
    said = {
        "question": row["question"],
        "answer": row["answer"],
        "choices": [str(row[f"choice_{c}"]) for c in LETTERS],
    }
    more = {"type": kinds[row["question_type_id"]]} if kinds else {}
    return Item({"id": name, "cluster": str(row["data_id"]), **said, "data_type": kind, **more}, place, data)
