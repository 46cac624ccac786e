"""Rows of every format, made by hand, and the option that rewrites prompt snapshots."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from prunegrid.tasks import Record, Task

ROWS = Path(__file__).parent / "rows"
Write = Callable[[str, Sequence[dict[str, Any]]], Path]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-snapshots", action="store_true", help="write prompt snapshots anew")


@pytest.fixture
def update_snapshots(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-snapshots", default=False))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write rows as `<tmp>/<file>` and give the folder."""

    def put(file: str, rows: Sequence[dict[str, Any]]) -> Path:
        (tmp_path / file).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return tmp_path

    return put


@pytest.fixture
def example() -> Callable[[str], list[dict[str, Any]]]:
    """The rows of tests/tasks/rows/<name>.jsonl."""
    return lambda name: [json.loads(line) for line in (ROWS / f"{name}.jsonl").open(encoding="utf-8")]


@pytest.fixture
def judged_with() -> Callable[..., list[dict[str, Any]]]:
    """Judge one text per sample, through the records' JSON form."""

    def judge(task: Task, data: Path, texts: Sequence[str], mode: Any = "official") -> list[dict[str, Any]]:
        samples = list(task.samples(data))
        assert len(samples) == len(texts)
        lines = [sample.record(text).to_json() for sample, text in zip(samples, texts, strict=True)]
        judged = [task.judge(Record.from_json(line), mode) for line in lines]
        return [json.loads(json.dumps(row)) for row in judged]

    return judge
