"""A cell depends on the data that it reads, and on no other."""

from __future__ import annotations

from typing import Any

import pytest

from prunegrid.grid.data import digests, outs
from prunegrid.grid.errors import GridError

from .project import PINS, ROOT, Project, dump


def test_data_dvc_of_this_repository_is_read() -> None:
    assert set(outs(ROOT)) >= {"data/mini/scenes", "data/mini/weights"}


def test_a_path_inside_an_out_gives_that_out() -> None:
    assert digests(PINS, ["data/mini/weights/llava", None]) == {
        "data/mini/weights": PINS["data/mini/weights"]
    }


@pytest.mark.parametrize("path", ["data/mini", "data/mini/scenes2", "data/bench/pope", "/data/mini/scenes"])
def test_a_path_in_no_out_is_an_error_that_lists_the_outs(path: str) -> None:
    with pytest.raises(GridError, match=r"data/mini/scenes, data/mini/weights") as caught:
        digests(PINS, [path])
    assert repr(path) in str(caught.value)


@pytest.mark.parametrize("path", ["data/mini/scenes/../../..", "data/mini/scenes/../weights", "../data"])
def test_a_path_cannot_climb_out_of_its_out(path: str) -> None:
    with pytest.raises(GridError, match=r"\.\."):
        digests(PINS, [path])


@pytest.mark.parametrize(
    "text", [None, "outs: [", "[]", "outs:\n- path: a\n", "!!python/object/apply:os.getpid []"]
)
def test_a_missing_or_broken_data_dvc_says_so(text: str | None, project: Project) -> None:
    (project.root / "data.dvc").unlink()
    if text is not None:
        project.write("data.dvc", text)
    with pytest.raises(GridError, match=r"data\.dvc.*restore it from git"):
        outs(project.root)


def marks(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What decides whether a cell runs again."""
    return [
        (r["id"], r["prediction"], r["code"], r["scorer"], r["costing"], r["like"], r["cell"]["data"])
        for r in rows
    ]


def test_adding_a_benchmark_makes_no_cell_of_the_demo_stale(project: Project) -> None:
    demo = (ROOT / "conf" / "study" / "demo.yaml").read_text(encoding="utf-8")
    project.write("conf/study/demo.yaml", demo)
    before = project.plan(name="demo").rows
    project.pin({**PINS, "data/bench/pope2": "c" * 32 + ".dir"})
    task = (project.root / "conf" / "task" / "mini_pope.yaml").read_text(encoding="utf-8")
    task = task.replace("name: mini_pope", "name: pope2").replace(
        "data: data/mini/scenes", "data: data/bench/pope2"
    )
    project.write("conf/task/pope2.yaml", task)
    after = project.plan(name="demo").rows
    assert marks(after) == marks(before)
    added = project.plan({"task": "pope2", "reducer": "none"}, name="new").rows[0]
    assert added["cell"]["data"] == {
        "data/bench/pope2": "c" * 32 + ".dir",
        "data/mini/weights": PINS["data/mini/weights"],
    }


def test_new_scenes_make_new_cells_and_new_weights_too(project: Project) -> None:
    block = {"task": "mini_pope", "reducer": ["none", "prumerge"]}
    before = {r["id"] for r in project.plan(block).rows}
    for out in PINS:
        project.pin({**PINS, out: "d" * 32 + ".dir"})
        assert not before & {r["id"] for r in project.plan(block).rows}


def test_dumped_data_dvc_has_the_form_of_dvc(project: Project) -> None:
    dump(project.root / "data.dvc", {"outs": [{"path": "x", "md5": "0" * 32, "remote": "lab", "size": 3}]})
    assert outs(project.root) == {"x": "0" * 32}
