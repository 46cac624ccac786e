"""LLaVA-Bench (In-the-Wild). Source: questions.jsonl, context.jsonl, answers_gpt4.jsonl, images; its copy on the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from prunegrid.benchmarks import parquet
from prunegrid.benchmarks.canonical import Item, content
from prunegrid.benchmarks.tree import Tree
from prunegrid.tasks.llava_wild import category

REPOSITORY, PATTERNS = "llava-bench-in-the-wild", ("data/train-*.parquet",)
COUNTS = {60: "the benchmark"}
COLUMNS = {"question_id": "name", "question": "text", "image": "picture", "category": "text", "caption": "text",
           "gpt_answer": "text"}  # fmt: skip


def read(tree: Tree) -> Iterator[Item]:
    if tree.has("*.parquet"):
        for row in parquet.rows(tree, "train-*.parquet", COLUMNS):
            raw = parquet.picture(row["image"], "")[1]()
            said = {"question": row["question"], "answer": row["gpt_answer"], "caption": row["caption"]}
            yield _item(str(row["question_id"]), content(raw), row["category"], said, raw)
        return
    captions = {row["image"]: row["caption"] for row in tree.jsonl("context.jsonl")}
    answers = {str(row["question_id"]): row["text"] for row in tree.jsonl("answers_gpt4.jsonl")}
    for row in tree.jsonl("questions.jsonl"):
        name = str(row["question_id"])
        said = {"question": row["text"], "answer": answers[name], "caption": captions[row["image"]]}
        raw = tree.picture([row["image"]])[1]()
        yield _item(name, PurePosixPath(row["image"]).stem, row["category"], said, raw)


def _item(name: str, stem: str, kind: str, said: dict[str, str], raw: bytes) -> Item:
    return Item({"id": name, "cluster": stem, **said, "category": category(kind)}, stem, lambda: raw)
