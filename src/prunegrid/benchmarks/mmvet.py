"""MM-Vet. Source: mm-vet.json and its images, and their copy on the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from prunegrid.benchmarks import parquet
from prunegrid.benchmarks.canonical import Item, content
from prunegrid.benchmarks.tree import Tree

REPOSITORY, PATTERNS = "MMVet", ("data/test-*.parquet",)
COUNTS = {218: "the benchmark"}
COLUMNS = {
    "question_id": "name",
    "image": "picture",
    "question": "text",
    "answer": "text",
    "capability": "any",
}


def read(tree: Tree) -> Iterator[Item]:
    if tree.has("*.parquet"):
        for row in parquet.rows(tree, "test-*.parquet", COLUMNS):
            raw = parquet.picture(row["image"], "")[1]()
            yield _item(
                str(row["question_id"]), content(raw), row["question"], row["answer"], row["capability"], raw
            )
        return
    for name, row in tree.json("mm-vet.json").items():
        raw = tree.picture([row["imagename"]])[1]()
        stem = PurePosixPath(row["imagename"]).stem
        yield _item(name, stem, row["question"], row["answer"], row["capability"], raw)


def _item(name: str, stem: str, question: str, answer: str, skills: str | list[str], raw: bytes) -> Item:
    """The hub joins the capabilities with commas."""
    listed = [s.strip() for s in skills.split(",")] if isinstance(skills, str) else list(skills)
    row = {"id": name, "cluster": stem, "question": question, "answer": answer, "capability": listed}
    return Item(row, stem, lambda: raw)
