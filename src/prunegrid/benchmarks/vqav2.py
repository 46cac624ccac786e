"""VQAv2 val2014. Source: v2_OpenEnded_mscoco_val2014_questions.json, v2_mscoco_val2014_annotations.json, val2014.zip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prunegrid.benchmarks import parquet
from prunegrid.benchmarks.canonical import Item
from prunegrid.benchmarks.tree import Tree
from prunegrid.tasks.errors import TaskError

REPOSITORY, PATTERNS = "VQAv2", ("data/validation-*.parquet",)
COUNTS = {214354: "val2014"}
COLUMNS = {"question_id": "name", "image_id": "name", "image": "picture", "question": "text", "answers": "list",
           "answer_type": "text"}  # fmt: skip


def read(tree: Tree) -> Iterator[Item]:
    if tree.has("*.parquet"):
        for row in parquet.rows(tree, "validation-*.parquet", COLUMNS):
            stem = _stem(row["image_id"])
            yield Item(_row(row, row), stem, parquet.picture(row["image"], stem)[1])
        return
    asked = {
        q["question_id"]: q for q in tree.json("v2_OpenEnded_mscoco_val2014_questions.json")["questions"]
    }
    for said in tree.json("v2_mscoco_val2014_annotations.json")["annotations"]:
        if said["question_id"] not in asked:
            raise TaskError(
                f"annotations: question {said['question_id']} is not among the {len(asked)} questions"
            )
        stem = _stem(said["image_id"])
        yield Item(_row(asked[said["question_id"]], said), stem, tree.picture([f"{stem}.jpg"])[1])


def _stem(image: object) -> str:
    return f"COCO_val2014_{int(str(image)):012d}"


def _row(asked: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, object]:
    answers = [a["answer"] if isinstance(a, dict) else a for a in said["answers"]]
    own = {"question": asked["question"], "answer": answers, "type": said["answer_type"]}
    return {"id": str(said["question_id"]), "cluster": str(said["image_id"]), **own}
