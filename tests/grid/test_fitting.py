"""What methods are asked while planning: each distinct reducer and model once, until something of it changes."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from prunegrid.grid import fitting, plan
from prunegrid.grid.builder import Builder
from prunegrid.grid.errors import GridError
from prunegrid.grid.expand import Entry, expand
from prunegrid.grid.plan import look
from prunegrid.grid.study import Study

from .project import Project

TASKS = ["mini_vqa", "mini_pope"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The reducers that were asked, and the tunings; those that keep 7 tokens say no."""
    seen: list[str] = []

    @contextmanager
    def started(
        _root: Path, questions: Sequence[Mapping[str, Any]]
    ) -> Iterator[Callable[[], fitting.Answers]]:
        options = [question.get("reducer") or question["tuning"] for question in questions]
        seen.extend(f"{option['name']} {option.get('keep', '')}".strip() for option in options)
        yield lambda: ["keep=7 is unlucky" if option.get("keep") == 7 else None for option in options]

    monkeypatch.setattr(fitting, "started", started)
    return seen


def budgets(*keep: Any) -> dict[str, Any]:
    return {"task": TASKS, "reducer": [{"random": {"keep": k}} for k in keep], "seed": [0, 1, 2]}


def test_each_reducer_is_asked_once_and_what_was_good_is_remembered(
    project: Project, asked: list[str]
) -> None:
    assert len(project.plan(budgets(3, 4)).rows) == 16
    assert sorted(asked) == ["blind", "none", "random 3", "random 4"]
    asked.clear()
    project.plan()
    project.plan(budgets(3, 4), choose={"limit": 8})
    assert asked == []
    project.plan(budgets(3, 5))
    assert asked == ["random 5"]


def test_a_budget_like_another_cells_is_one_question_whatever_the_task(
    project: Project, asked: list[str]
) -> None:
    project.plan({"task": TASKS, "reducer": {"random": {"keep": {"like": "prumerge"}}}})
    assert sorted(name.split()[0] for name in asked) == ["blind", "none", "prumerge", "random"]


def test_another_model_or_other_code_is_another_question(
    project: Project, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.plan(budgets(3))
    file = project.root / "conf" / "model" / "mini.yaml"
    file.write_text(
        file.read_text(encoding="utf-8").replace("llm_layers: ", "llm_layers: 1"), encoding="utf-8"
    )
    asked.clear()
    project.plan()
    assert sorted(asked) == ["blind", "none", "random 3"]
    asked.clear()
    monkeypatch.setattr(fitting, "code_hash", lambda modules: "other")
    rows = project.plan().rows
    assert asked == []
    fitting.check(project.results, rows, "here", partial(fitting.ask, project.root))
    assert sorted(asked) == ["blind", "none", "random 3"]


def test_a_refusal_names_study_cell_and_value_and_leaves_nothing(project: Project, asked: list[str]) -> None:
    with pytest.raises(GridError, match="keep=7 is unlucky") as caught:
        project.plan(budgets(3, 7))
    said = str(caught.value)
    assert said.startswith("conf/study/mine.yaml: reducer 'random' of mini-random-mini_vqa-")
    assert "on model 'mini'" in said
    assert not project.results.exists()


def test_many_refusals_are_counted(project: Project, asked: list[str]) -> None:
    blocks = [{"random": {"keep": 7}}, {"topk_cls": {"keep": 7}}, {"divprune": {"keep": 7}}]
    layers = [{"topk_cls": {"keep": 7, "layer": -k}} for k in (1, 3)]
    with pytest.raises(GridError) as caught:
        project.plan({"task": TASKS, "reducer": [*blocks, *layers]})
    assert str(caught.value).count("unlucky") == 3
    assert str(caught.value).endswith("; and 2 more")


def test_all_questions_are_asked_before_the_study_is_expanded(
    project: Project, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Budgets like another cell's, twins and what tunings train with included: none turns up late."""
    known: list[list[str]] = []

    def expanded(study: Study, builder: Builder) -> list[Entry]:
        known.append(sorted(asked))
        return expand(study, builder)

    monkeypatch.setattr(plan, "expand", expanded)
    tuning = [{"mini_lora": {"reducer": {"random": {"keep": 5}}}}, "mini_lora"]
    reducers = [{"random": {"keep": {"like": "prumerge"}}}, {"random": {"keep": 4}}]
    project.plan({"task": TASKS, "reducer": reducers, "tuning": tuning, "seed": [0, 1]})
    assert known == [sorted(asked)]
    assert {"random 5", "prumerge None"} <= set(asked)


def test_what_turns_up_late_is_asked_then(project: Project, asked: list[str]) -> None:
    project.study("mine", budgets(7, 3))
    rows = look(project.root, project.results, "mine").rows
    with fitting.asked(project.root, project.results, [rows[-1]["cell"]]) as asking:
        assert len(asked) == 1
        with pytest.raises(GridError, match="keep=7 is unlucky"):
            fitting.check(project.results, rows, "here", asking)
    assert len(asked) == len(set(asked)) == 4


def test_a_study_that_is_wrong_stops_the_methods(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are at work when the last of its points turns out to be none; the error is the study's."""
    monkeypatch.undo()
    project.write("slow.py", "import time; time.sleep(600)")
    monkeypatch.setattr(fitting, "FIT", "slow")
    running: list[subprocess.Popen[str]] = []

    class Popen(subprocess.Popen[str]):
        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **options)
            running.append(self)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    with pytest.raises(GridError, match="keep=999"):
        project.plan(budgets(3, 999))
    assert [process.returncode for process in running] == [-signal.SIGKILL]


def test_a_listing_asks_nobody_and_writes_nothing(project: Project, asked: list[str]) -> None:
    project.study("mine", budgets(3))
    assert len(look(project.root, project.results, "mine").rows) == 10
    assert asked == []
    assert not project.results.exists()
    planned = project.plan()
    files = {f: f.stat().st_mtime_ns for f in project.results.rglob("*")}
    assert look(project.root, project.results, "mine").rows == planned.rows
    assert look(project.root, project.results, "mine", {"limit": 8}).rows != planned.rows
    assert {f: f.stat().st_mtime_ns for f in project.results.rglob("*")} == files


def test_methods_that_cannot_be_asked_are_an_error_with_the_reason(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(fitting, "FIT", "prunegrid.nowhere")
    with pytest.raises(GridError, match=r"could not be asked.*prunegrid.nowhere"):
        fitting.ask(project.root, [{}])
