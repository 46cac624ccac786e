"""VizWiz val. Source: Annotations/val.json and val.zip of the challenge, and their copy on the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from prunegrid.benchmarks import parquet
from prunegrid.benchmarks.canonical import Item
from prunegrid.benchmarks.tree import Tree

REPOSITORY, PATTERNS = "VizWiz-VQA", ("data/val-*.parquet",)
COUNTS = {4319: "val"}
COLUMNS = {
    "question_id": "name",
    "image": "picture",
    "question": "text",
    "answers": "list",
    "category": "text",
}


def read(tree: Tree) -> Iterator[Item]:
    if tree.has("*.parquet"):
        for row in parquet.rows(tree, "val-*.parquet", COLUMNS):
            stem = PurePosixPath(str(row["question_id"])).stem
            _, data = parquet.picture(row["image"], stem)
            yield Item(_row(stem, row["question"], row["answers"], row["category"]), stem, data)
        return
    for row in tree.json("val.json"):
        stem = PurePosixPath(row["image"]).stem
        said = [answer["answer"] for answer in row["answers"]]
        yield Item(
            _row(stem, row["question"], said, row["answer_type"]), stem, tree.picture([row["image"]])[1]
        )


def _row(stem: str, question: str, answers: list[str], kind: str) -> dict[str, object]:
    return {"id": stem, "cluster": stem, "question": question, "answer": answers, "type": kind}
