"""GQA testdev-balanced. Source: testdev_balanced_questions.json and images.zip, and their copy on the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prunegrid.benchmarks import parquet
from prunegrid.benchmarks.canonical import Item
from prunegrid.benchmarks.tree import Tree
from prunegrid.tasks.errors import TaskError

REPOSITORY = "GQA"
PATTERNS = ("testdev_balanced_instructions/*.parquet", "testdev_balanced_images/*.parquet")
COUNTS = {12578: "testdev-balanced"}
COLUMNS = {
    "id": "name",
    "imageId": "name",
    "question": "text",
    "answer": "text",
    "types": "any",
    "isBalanced": "any",
}


def read(tree: Tree) -> Iterator[Item]:
    if tree.has("*.parquet"):
        images = parquet.rows(tree, "testdev_balanced_images/*.parquet", {"id": "name", "image": "picture"})
        pictures = {str(row["id"]): parquet.picture(row["image"], str(row["id"]))[1] for row in images}
        for row in parquet.rows(tree, "testdev_balanced_instructions/*.parquet", COLUMNS):
            image = str(row["imageId"])
            if image not in pictures:
                raise TaskError(f"question {row['id']}: no picture {image} among {len(pictures)}")
            yield Item(_row(str(row["id"]), row), image, pictures[image])
        return
    for name, row in tree.json("testdev_balanced_questions.json").items():
        if row.get("isBalanced", True):
            image = str(row["imageId"])
            yield Item(_row(name, row), image, tree.picture([f"{image}.jpg"])[1])


def _row(name: str, row: Mapping[str, Any]) -> dict[str, object]:
    types = row["types"]
    if not isinstance(types, dict) or not isinstance(types.get("structural"), str):
        raise TaskError(f"question {name}: types {types!r} must say what is structural")
    said = {"question": row["question"], "answer": row["answer"], "structural": types["structural"]}
    return {"id": name, "cluster": str(row["imageId"]), **said}
