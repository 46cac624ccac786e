"""MMBench dev, English: rotated rows. Source: mmbench_dev_20230712.tsv, and its copy on the hub."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prunegrid.benchmarks import parquet
from prunegrid.benchmarks.canonical import Item
from prunegrid.benchmarks.tree import Tree
from prunegrid.tasks.errors import TaskError

REPOSITORY, PATTERNS = "MMBench_EN", ("data/dev-*.parquet",)
COUNTS = {4377: "20230712, what LLaVA-1.5 scores", 4329: "today's dev"}
TABLE = "mmbench_dev_20230712.tsv"
COLUMNS = {"index": "whole", "question": "text", "hint": "text", "answer": "text", "A": "text", "B": "text", "C": "text",
           "D": "text", "image": "picture"}  # fmt: skip
STEP = 1_000_000  # the index of a rotation is that of its question + STEP * k
NONE = {"", "nan", "none"}


def read(tree: Tree) -> Iterator[Item]:
    return items(tree, TABLE, "mmbench_dev_2*.tsv")


def items(tree: Tree, *tables: str) -> Iterator[Item]:
    """Of either language."""
    if tree.has("*.parquet"):
        for row in parquet.rows(tree, "dev-*.parquet", COLUMNS):
            yield _item(row, parquet.picture(row["image"], str(row["index"]))[1])
        return
    csv.field_size_limit(1 << 30)  # a field holds a whole picture
    text = tree.one(*tables).decode("utf-8-sig")
    table = list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t"))
    lost = [c for c in COLUMNS if table and c not in table[0] and c != "hint"]
    if lost or not table:
        raise TaskError(f"{tree.place}: the table lacks {', '.join(lost) or 'rows'}")
    coded = {row["index"]: row["image"] for row in table}
    for row in table:
        yield _item(row, _decoded(coded, row["index"]))


def _decoded(coded: Mapping[str, str], index: str) -> Callable[[], bytes]:
    """A short number in place of a picture is the index of the row that has it."""

    def data() -> bytes:
        value = coded[index]
        return base64.b64decode(coded.get(value, value))

    return data


def _item(row: Mapping[str, Any], data: Callable[[], bytes]) -> Item:
    index = int(row["index"])
    group = str(index % STEP)
    choices = []
    for letter in "ABCD":
        if str(row[letter] if row[letter] is not None else "").strip().lower() in NONE:
            break
        choices.append(row[letter])
    hint = str(row.get("hint") or "")
    said = {"question": row["question"], "answer": row["answer"].strip(), "choices": choices, "group": group}
    own = {"id": str(index), "cluster": group, **said, "hint": "" if hint.strip().lower() in NONE else hint}
    return Item(own, group, data)
