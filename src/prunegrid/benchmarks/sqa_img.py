"""ScienceQA test, the questions with a picture. Source: problems.json, pid_splits.json and test.zip of ScienceQA 2cbf831."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prunegrid.benchmarks import parquet
from prunegrid.benchmarks.canonical import Item, content
from prunegrid.benchmarks.tree import Tree

REPOSITORY, PATTERNS = "ScienceQA", ("ScienceQA-IMG/test-*.parquet",)
COUNTS = {2017: "test, with an image"}
COLUMNS = {"image": "picture", "question": "text", "choices": "list", "answer": "whole", "hint": "text"}


def read(tree: Tree) -> Iterator[Item]:
    if tree.has("*.parquet"):
        for number, row in enumerate(parquet.rows(tree, "test-*.parquet", COLUMNS)):
            data = parquet.picture(row["image"], str(number))[1]()
            yield _item(f"img-{number}", row, data)
        return
    problems = tree.json("problems.json")
    for name in tree.json("pid_splits.json")["test"]:
        row = problems[name]
        if row.get("image"):
            places = (f"{folder}{name}/{row['image']}" for folder in ("test/", ""))
            yield _item(name, row, tree.picture(places)[1]())


def _item(name: str, row: Mapping[str, Any], data: bytes) -> Item:
    """The same picture under several questions is one cluster."""
    said = {k: row[k] for k in ("question", "choices", "answer")}
    return Item(
        {"id": name, "cluster": content(data), **said, "hint": row.get("hint") or ""},
        content(data),
        lambda: data,
    )
