"""TextVQA val v0.5.1 with its Rosetta words. Source: TextVQA_0.5.1_val.json, train_val_images.zip, and for the words
TextVQA_Rosetta_OCR_v0.2_val.json or LLaVA's llava_textvqa_val_v051_ocr.jsonl."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prunegrid.benchmarks import parquet
from prunegrid.benchmarks.canonical import Item
from prunegrid.benchmarks.tree import Tree
from prunegrid.tasks.errors import TaskError

REPOSITORY, PATTERNS = "textvqa", ("data/validation-*.parquet",)
COUNTS = {5000: "val v0.5.1"}
COLUMNS = {"image_id": "text", "question_id": "name", "question": "text", "image": "picture", "answers": "list",
           "ocr_tokens": "list"}  # fmt: skip
_WORDS = "\nReference OCR token: "


def read(tree: Tree) -> Iterator[Item]:
    if tree.has("*.parquet"):
        for row in parquet.rows(tree, "validation-*.parquet", COLUMNS):
            data = parquet.picture(row["image"], row["image_id"])[1]
            yield Item(_row(row, row["ocr_tokens"]), row["image_id"], data)
        return
    words = _words(tree)
    for row in tree.json("TextVQA_0.5.1_val.json")["data"]:
        _, data = tree.picture([f"{row['image_id']}.jpg"])
        yield Item(_row(row, words(row)), row["image_id"], data)


def _words(tree: Tree) -> Callable[[Mapping[str, Any]], list[str]]:
    """The words of a question's picture; LLaVA's file has them joined, and joined they stay."""
    if tree.has("TextVQA_Rosetta_OCR_v0.2_val.json"):
        rosetta = {
            r["image_id"]: r["ocr_tokens"] for r in tree.json("TextVQA_Rosetta_OCR_v0.2_val.json")["data"]
        }
        return lambda row: _found(rosetta, row["image_id"])
    asked = {}
    for row in tree.jsonl("llava_textvqa_val_v051_ocr.jsonl"):
        question, said, rest = row["text"].partition(_WORDS)
        asked[str(row["question_id"]), question.lower()] = [rest.rsplit("\n", 1)[0]] if said else []
    return lambda row: _found(asked, (str(row["image_id"]), row["question"].lower()))


def _found(words: Mapping[Any, list[str]], key: Any) -> list[str]:
    if key not in words:
        raise TaskError(f"no OCR words for {key!r} among {len(words)}; do the files belong together?")
    return words[key]


def _row(row: Mapping[str, Any], words: list[str]) -> dict[str, object]:
    said = {"question": row["question"], "answer": list(row["answers"]), "ocr_tokens": words}
    return {"id": str(row["question_id"]), "cluster": row["image_id"], **said}
