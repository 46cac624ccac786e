"""What a layout hands over: a task, its records, and what could not be matched."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prunegrid.tasks.base import Record, Task
from prunegrid.tasks.errors import TaskError


@dataclass(frozen=True)
class Answered:
    """Answers of others beside the questions that they belong to.

    `missing`: questions without an answer; `unknown`: answers without a question; `notes`: what a reader of
    the score must know (labels derived, typing errors matched, ...). `upload`: the file that the benchmark's
    server wants, as a value for JSON, where it has one.
    """

    task: Task
    records: list[Record]
    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    upload: object = None

    @property
    def empty(self) -> int:
        """Answers of which nothing is left after stripping."""
        return sum(not record.text.strip() for record in self.records)


def join(
    task: Task,
    questions: Iterable[Record],
    said: Mapping[str, str],
    *,
    notes: Iterable[str] = (),
    upload: object = None,
) -> Answered:
    """Records of the `questions` (their text is not looked at) that `said` answers, in the questions' order."""
    asked = list(questions)
    known = {record.id for record in asked}
    if len(known) != len(asked):
        raise TaskError("the annotations name a question twice; is a file given twice?")
    return Answered(
        task=task,
        records=[Record(r.id, r.cluster, said[r.id], r.answer, r.meta) for r in asked if r.id in said],
        missing=[record.id for record in asked if record.id not in said],
        unknown=[name for name in said if name not in known],
        notes=list(notes),
        upload=upload,
    )


def settle(answered: Answered, *, missing: str = "error", unknown: str = "error") -> Answered:
    """Refuse what is not matched, or ("skip") count it and go on. TaskError otherwise, and if nothing is left."""
    for choice in (missing, unknown):
        if choice not in ("error", "skip"):
            raise TaskError(f"{choice!r}: must be error or skip")
    faults = []
    if answered.missing and missing == "error":
        faults.append(_list(answered.missing, "questions have no answer", "--missing skip"))
    if answered.unknown and unknown == "error":
        faults.append(_list(answered.unknown, "answers belong to no question", "--unknown skip"))
    if faults:
        raise TaskError("; ".join(faults) + ". Wrong split, or a file that was cut?")
    if not answered.records:
        raise TaskError("no answer belongs to a question of the annotations: wrong split or wrong files?")
    return answered


def _list(names: list[str], what: str, remedy: str) -> str:
    first = ", ".join(names[:3])
    return f"{len(names)} {what} (first: {first}; {remedy} counts them and goes on)"
