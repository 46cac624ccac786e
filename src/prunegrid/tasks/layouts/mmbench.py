"""MMBench: LLaVA's answers (jsonl) or upload file (xlsx) beside the benchmark's table.

Sources: scripts/convert_mmbench_for_submission.py of LLaVA at c121f043 (the upload of a dev split still has the
column `answer`, so it can be scored alone); the index of a rotation is that of its question + 1,000,000 k.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from prunegrid.tasks.base import Record
from prunegrid.tasks.choices import LETTERS
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.layouts.answered import Answered, join
from prunegrid.tasks.layouts.files import once, texts
from prunegrid.tasks.layouts.sheet import read_table
from prunegrid.tasks.mmbench import MmBench

TASK = MmBench(file="mmbench.jsonl", prompt="{question}")
_TABLES = (".xlsx", ".tsv", ".csv")
_STEP = 1_000_000
Rows = list[dict[str, str]]


def read(answers: Sequence[Path], annotations: Sequence[Path]) -> Answered:
    """Answers: .jsonl (question_id, text) or a table with index and prediction. Annotations: a table with answer."""
    tables = {path: read_table(path) for path in answers if path.suffix in _TABLES}
    rows = [row for path in annotations for row in read_table(path)]
    rows = rows or [row for table in tables.values() for row in table]
    if not rows:
        raise TaskError("no table with the right letters: pass mmbench_dev_*.tsv")
    pairs = [pair for path in answers for pair in _said(path, tables.get(path))]
    return join(TASK, _questions(rows), once(pairs, "answers"))


def _said(path: Path, table: Rows | None) -> Iterator[tuple[str, str]]:
    if table is None:
        yield from texts(path).items()
        return
    if not any("prediction" in row for row in table):
        raise TaskError(f"{path}: no column prediction; there are {', '.join(table[0])}")
    # an empty cell is no answer: the question counts as missing
    yield from ((_index(row), row["prediction"]) for row in table if "prediction" in row)


def _index(row: Mapping[str, str]) -> str:
    if not row.get("index", "").isdigit():
        raise TaskError(f"index {row.get('index')!r} is no number; the table has {', '.join(row)}")
    return row["index"]


def _questions(rows: Rows) -> Iterator[Record]:
    if not any("answer" in row for row in rows):
        raise TaskError("no column answer: this split is scored by the benchmark's server alone")
    sizes: dict[int, int] = {}
    for row in rows:
        group = int(_index(row)) % _STEP
        sizes[group] = sizes.get(group, 0) + 1
    for row in rows:
        index, answer = int(_index(row)), row.get("answer", "").strip()
        if len(answer) != 1 or answer not in LETTERS:
            raise TaskError(f"index {index}: answer {answer!r} must be a letter")
        group = index % _STEP
        place = {"group": str(group), "group_size": sizes[group], "rotation": index // _STEP}
        yield Record(str(index), str(group), "", answer, place)
