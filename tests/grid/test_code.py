"""Code identity: an edit reaches the cells that run it; words for people reach none."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prunegrid.grid.code import check_target, code_hash, constant, module_of
from prunegrid.grid.codes import COST, PREDICT, SCORE
from prunegrid.grid.errors import GridError

from .project import ROOT, Project

TASKS = ["mini_vqa", "mini_pope", "mini_sqa"]
REDUCERS = ["none", "blind", "prumerge", "prumerge_plus", "spatial", "spatial_pool", "random", "topk_cls"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    project = Project.at(tmp_path_factory.mktemp("rows"))
    return project.plan({"task": TASKS, "reducer": REDUCERS}).rows


def hashes(rows: list[dict[str, Any]], source: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """(reducer, task) -> hashes of the code that predicts and scores it."""
    found = {}
    for row in rows:
        method, task = module_of(row["reducer"]["_target_"]), module_of(row["task"]["_target_"])
        found[row["reducer"]["name"], row["task"]["name"]] = (
            code_hash([PREDICT, method, task], source, judging=False),
            code_hash([SCORE, task], source),
        )
    return found


@pytest.fixture
def edit(tmp_path: Path) -> Callable[..., Path]:
    """A copy of src with one file edited."""

    def make(file: str, change: Callable[[str], str]) -> Path:
        source = tmp_path / "src"
        shutil.copytree(
            ROOT / "src" / "prunegrid", source / "prunegrid", ignore=shutil.ignore_patterns("__pycache__")
        )
        path = source / "prunegrid" / file
        text = path.read_text(encoding="utf-8")
        path.write_text(change(text), encoding="utf-8")
        assert path.read_text(encoding="utf-8") != text
        return source

    return make


def code(text: str) -> str:
    return text + "\n\nEDITED = True\n"


def comment(text: str) -> str:
    return "# A remark.\n" + text.replace("\n\n\n", "\n\n\n# Another one.\n", 1)


def docstring(text: str) -> str:
    """Other words in every docstring, the module's included."""
    return re.sub(r'"""(.*?)"""', r'"""New words. \1"""', text, flags=re.DOTALL)


def layout(text: str) -> str:
    """The same syntax in other lines."""
    return ast.unparse(ast.parse(text))


def changed(rows: list[dict[str, Any]], source: Path) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """The cells whose predictions and whose scores are stale."""
    before, after = hashes(rows, ROOT / "src"), hashes(rows, source)
    return tuple({cell for cell in before if before[cell][i] != after[cell][i]} for i in (0, 1))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("file", "reducers"),
    [
        ("reduce/methods/prumerge.py", {"prumerge"}),
        ("reduce/methods/merging.py", {"prumerge", "prumerge_plus"}),
        ("reduce/methods/spatial.py", {"spatial", "spatial_pool"}),
        ("reduce/methods/random.py", {"random"}),
    ],
)
def test_editing_a_method_makes_exactly_its_cells_stale(
    file: str, reducers: set[str], rows: list[dict[str, Any]], edit: Callable[..., Path]
) -> None:
    predicted, scored = changed(rows, edit(file, code))
    assert predicted == {(r, t) for r in reducers for t in TASKS}
    assert scored == set()


def swap(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("change", "asks"),
    [
        (swap("def verdict(self, record: Record, text: str, ", "def verdict(self, record: Record, said: str, "), False),
        (swap('primary: ClassVar[str] = "f1"', 'primary: ClassVar[str] = "accuracy"'), False),
        (lambda text: text + "\n\ndef helper():\n    pass\n", False),
        (swap('"split": str, "answer": str', '"split": int, "answer": str'), True),
        (swap('SPLITS = ("random", ', 'SPLITS = ("uniform", '), True),
        (lambda text: text + "\n\nTask.fields = None\n", True),
    ],
)  # fmt: skip
def test_editing_a_task_makes_its_scores_stale_and_its_predictions_only_where_it_asks(
    change: Callable[[str], str], asks: bool, rows: list[dict[str, Any]], edit: Callable[..., Path]
) -> None:
    its_own = {(r["reducer"]["name"], "mini_pope") for r in rows}
    predicted, scored = changed(rows, edit("tasks/pope.py", change))
    assert scored == its_own
    assert predicted == (its_own if asks else set())


def test_a_parser_that_only_scores_costs_no_prediction(
    rows: list[dict[str, Any]], edit: Callable[..., Path]
) -> None:
    predicted, scored = changed(rows, edit("tasks/text.py", code))
    assert {task for _, task in scored} == {"mini_vqa"} and not predicted


@pytest.mark.parametrize("file", ["reduce/session.py", "reduce/probe.py", "run/predict.py", "run/build.py"])
def test_editing_the_core_makes_every_cell_stale(
    file: str, rows: list[dict[str, Any]], edit: Callable[..., Path]
) -> None:
    predicted, _ = changed(rows, edit(file, code))
    assert len(predicted) == len({(r["reducer"]["name"], r["task"]["name"]) for r in rows})


@pytest.mark.parametrize(
    "file", ["report/tables.py", "track/runs.py", "cost/exact.py", "mini/train.py", "run/wrapup.py"]
)
def test_editing_what_no_answer_depends_on_makes_none_stale(
    file: str, rows: list[dict[str, Any]], edit: Callable[..., Path]
) -> None:
    assert changed(rows, edit(file, code)) == (set(), set())


@pytest.mark.parametrize("change", [comment, docstring, layout])
@pytest.mark.parametrize("file", ["reduce/methods/prumerge.py", "reduce/session.py", "tasks/pope.py"])
def test_words_for_people_make_none_stale(
    file: str, change: Callable[[str], str], rows: list[dict[str, Any]], edit: Callable[..., Path]
) -> None:
    assert changed(rows, edit(file, change)) == (set(), set())


def test_cost_has_a_hash_of_its_own(edit: Callable[..., Path]) -> None:
    source = edit("cost/exact.py", code)
    assert code_hash([COST], source) != code_hash([COST])
    assert code_hash([SCORE], source) == code_hash([SCORE])


# ---- packages of the user's own ----------------------------------------------------------------------------------
@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package beside ours: `from . import helper` in its method, `from .. import deep` in a sub-package."""
    folder = tmp_path / "theirs"
    (folder / "sub").mkdir(parents=True)
    for file, text in {
        "__init__.py": "",
        "method.py": "from . import helper\nfrom theirs.sub.more import X\n\nclass Mine:\n    version = '7'\n",
        "helper.py": "A = 1\n",
        "sub/__init__.py": "",
        "sub/more.py": "from ..deep import X\n",
        "deep.py": "X = 1\n",
        "apart.py": "Y = 1\n",
    }.items():
        (folder / file).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_a_listed_package_is_found_without_importing_it(
    theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRUNEGRID_PACKAGES", "theirs")
    check_target("theirs.method.Mine", "here")
    assert constant("theirs.method.Mine", "version") == "7"
    assert "theirs" not in sys.modules


@pytest.mark.parametrize(("file", "counts"), [("helper.py", True), ("deep.py", True), ("apart.py", False)])
def test_the_code_of_a_listed_package_counts(
    file: str, counts: bool, theirs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PRUNEGRID_PACKAGES", "theirs")
    before = code_hash(["theirs.method"], tmp_path)  # a source of its own: nothing is remembered of it
    (theirs / file).write_text("X = A = 2\n", encoding="utf-8")
    again = tmp_path / "again"
    again.mkdir()
    assert (code_hash(["theirs.method"], again) != before) == counts


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("os.system", "outside prunegrid"),
        ("theirs.method.Mine", "PRUNEGRID_PACKAGES"),
        ("prunegrid_evil.X", "outside prunegrid"),
        ("prunegrid.reduce.methods.nope.X", "is no file"),
        ("prunegrid.reduce.methods.prumerge.PruMurge", "has PruMerge"),
        ("prunegrid", "outside prunegrid"),
        ("", "outside"),
        (None, "outside"),
    ],
)
def test_a_target_outside_or_missing_is_refused_with_the_remedy(
    target: object, said: str, theirs: Path
) -> None:
    with pytest.raises(GridError, match=r"conf/reducer/x\.yaml: _target_") as caught:
        check_target(target, "conf/reducer/x.yaml")
    assert repr(target) in str(caught.value)
    assert said in str(caught.value)
