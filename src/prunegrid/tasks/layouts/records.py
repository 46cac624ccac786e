"""This project's own records.jsonl: questions, answers and what is right in one line each."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from prunegrid.tasks.base import Record
from prunegrid.tasks.layouts.files import once, read_jsonl


def own(answers: Sequence[Path]) -> bool:
    """True if every file is named records.jsonl and begins with a record."""
    names = {f.name for f in fields(Record)}
    return bool(answers) and all(
        p.name == "records.jsonl" and names <= set(read_jsonl(p)[0]) for p in answers
    )


def records(path: Path) -> list[Record]:
    """The records of a file. TaskError if a field is missing or an id comes twice."""
    return list(once(((r.id, r) for r in map(Record.from_dict, read_jsonl(path))), str(path)).values())
