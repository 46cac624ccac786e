"""Prediction files of others, in the layouts of LLaVA's repository and of the benchmarks.

A module named as a task has `TASK` and `read(answers, annotations) -> Answered`; a new layout is a new module.
This project's own records.jsonl, which hold what is right themselves, are read for every task.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path

from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.layouts.answered import Answered
from prunegrid.tasks.layouts.records import own, records

_SHARED = frozenset({"answered", "files", "records", "sheet", "videoqa"})


def names() -> list[str]:
    """The tasks whose files can be read."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _SHARED)


def read(task: str, answers: Sequence[Path], annotations: Sequence[Path]) -> Answered:
    """The answers of `task` beside its annotations. TaskError names a file that cannot be used."""
    if task not in names():
        raise TaskError(f"task {task!r}: must be one of {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{task}")
    if own(answers):
        return Answered(module.TASK, [record for path in answers for record in records(path)])
    made: Answered = module.read(answers, annotations)
    return made
