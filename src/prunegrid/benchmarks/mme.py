"""MME: two questions per picture in 14 sub-tasks. Source: MME_Benchmark_release_version, and its copy on the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from prunegrid.benchmarks import parquet
from prunegrid.benchmarks.canonical import Item
from prunegrid.benchmarks.tree import Tree
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.mme import COGNITION, PERCEPTION

REPOSITORY, PATTERNS = "MME", ("data/test-*.parquet",)
COUNTS = {2374: "the benchmark"}
COLUMNS = {
    "question_id": "text",
    "image": "picture",
    "question": "text",
    "answer": "text",
    "category": "text",
}


def read(tree: Tree) -> Iterator[Item]:
    if tree.has("*.parquet"):
        seen: dict[str, int] = {}
        for row in parquet.rows(tree, "test-*.parquet", COLUMNS):
            place = f"{row['category']}/{PurePosixPath(row['question_id']).stem}"
            seen[place] = seen.get(place, 0) + 1
            _, data = parquet.picture(row["image"], place)
            yield Item(_row(row["category"], place, seen[place], row["question"], row["answer"]), place, data)
        return
    for subtask in (*PERCEPTION, *COGNITION):
        for file in sorted(
            {*tree.glob(f"{subtask}/*.txt"), *tree.glob(f"{subtask}/questions_answers_YN/*.txt")}
        ):
            yield from _lines(tree, subtask, file)


def _lines(tree: Tree, subtask: str, file: str) -> Iterator[Item]:
    """A text file per picture: question, tab, answer."""
    stem = PurePosixPath(file).stem
    folders = (subtask, f"{subtask}/images")
    _, data = tree.picture(f"{folder}/{stem}{end}" for folder in folders for end in (".jpg", ".png", ".jpeg"))
    lines = [line for line in tree.names[file]().decode("utf-8-sig").splitlines() if line.strip()]
    for number, line in enumerate(lines, 1):
        question, tab, answer = line.rpartition("\t")
        if not tab:
            raise TaskError(f"{file} line {number}: no tab between question and answer: {line[:80]!r}")
        place = f"{subtask}/{stem}"
        yield Item(_row(subtask, place, number, question, answer), place, data)


def _row(subtask: str, place: str, number: int, question: str, answer: str) -> dict[str, object]:
    said = {"question": question.strip(), "answer": answer.strip().lower(), "subtask": subtask}
    return {"id": f"{place}#{number}", "cluster": place, **said}
