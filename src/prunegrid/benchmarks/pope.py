"""POPE on COCO val2014. Source: output/coco/*.json of POPE 08d957b (2,910 random questions in August 2023, 3,000 now)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from prunegrid.benchmarks import parquet
from prunegrid.benchmarks.canonical import Item
from prunegrid.benchmarks.tree import Tree

REPOSITORY, PATTERNS = "POPE", ("data/test-*.parquet",)
COUNTS = {8910: "August 2023, what LLaVA-1.5 scores", 9000: "today's files"}
COLUMNS = {"question_id": "name", "question": "text", "answer": "text", "image_source": "text", "image": "picture",
           "category": "text"}  # fmt: skip


def read(tree: Tree) -> Iterator[Item]:
    if tree.has("*.parquet"):
        for row in parquet.rows(tree, "test-*.parquet", COLUMNS):
            stem = PurePosixPath(row["image_source"]).stem
            _, data = parquet.picture(row["image"], stem)
            yield Item(
                _row(row["category"], row["question_id"], stem, row["question"], row["answer"]), stem, data
            )
        return
    for split in ("random", "popular", "adversarial"):
        for row in tree.jsonl(f"coco_pope_{split}.json", f"*{split}*.json*"):
            name, data = tree.picture([row["image"]])
            stem = PurePosixPath(name).stem
            yield Item(_row(split, row["question_id"], stem, row["text"], row["label"]), stem, data)


def _row(split: str, number: object, stem: str, question: str, answer: str) -> dict[str, object]:
    return {
        "id": f"{split}-{number}",
        "cluster": stem,
        "question": question,
        "answer": answer.strip().lower(),
        "split": split,
    }
