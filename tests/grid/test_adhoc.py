"""Cells given by hand: words of hydra's command line become the cell that hydra would compose, in a study of their own."""

from __future__ import annotations

from typing import Any

import pytest

from prunegrid.grid import adhoc
from prunegrid.grid.builder import Builder
from prunegrid.grid.cell import Cell
from prunegrid.grid.data import outs
from prunegrid.grid.errors import GridError
from prunegrid.grid.plan import make
from prunegrid.run.cell_command import given

from .project import Project

WORDS = ["reducer=ivtp", "reducer.tau=0.15", "task=mini_vqa"]


def shown(project: Project) -> list[dict[str, Any]]:
    return [r for r in make(project.root, project.results, adhoc.NAME).rows if not r["support"]]


@pytest.mark.parametrize(
    "words",
    [
        WORDS,
        ["reducer=prumerge", "reducer.merge=false", "reducer.k=5", "task=mini_pope", "seed=3", "limit=7"],
        ["reducer=random", "reducer.keep=0.5", "decoding=greedy", "decoding.batch_size=4", "model=mini"],
        ["task=mini_mme", "tuning=none"],
    ],
    ids=" ".join,
)
def test_words_give_the_cell_that_hydra_composes(words: list[str], project: Project) -> None:
    cell, _ = Builder(project.options, outs(project.root)).cell(adhoc.point(words), "here")
    composed = project.options.compose(words)
    for group in ("task", "tuning", "decoding"):
        assert getattr(cell, group) == composed[group]
    assert (cell.seed, cell.limit) == (composed["seed"], composed["limit"])
    plain = {k: v for k, v in composed["reducer"].items() if not isinstance(v, dict)}
    assert {k: v for k, v in cell.reducer.items() if k in plain} == plain


def test_a_figure_is_a_value_too() -> None:
    point = adhoc.point(["reducer=random", "reducer.keep={of: 576, keep: 32}"])
    assert point == {"reducer": {"random": {"keep": {"of": 576, "keep": 32}}}}


def test_a_figure_for_every_stage_may_be_a_plain_list(project: Project) -> None:
    words = ["reducer=sparsevlm", "reducer.keep=[40,20,10]", "reducer.layers=[1,2,3]"]
    reducer = project.cell(**adhoc.point(words)).reducer
    assert (reducer["keep"], reducer["layers"]) == ([40, 20, 10], [1, 2, 3])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["reduser=ivtp"], "unknown option of a cell 'reduser'.*Did you mean 'reducer'"),
        (["reducer.tau=0.1"], "say which reducer"),
        (["reducer=ivtp,none"], "more than one cell"),
        (["+reducer=ivtp"], "are all there"),
        (["reducer=ivtp", "~reducer.tau"], "are all there"),
        (["reducer=ivtp", "reducer.tua=0.1"], "unknown option of reducer 'ivtp' 'tua'.*Did you mean 'tau'"),
        (["reducer=ivtpp"], "unknown reducer 'ivtpp'"),
        (["reducer=random", "reducer.keep=[16]"], "must be a number"),
        (
            ["reducer=sparsevlm", "reducer.keep=[9,some]"],
            r"must be a list of numbers or a figure like \{'of': 576",
        ),
        (["reducer=sparsevlm", "reducer.keep=[9,9,145]"], "must be tokens, 1 to 144 for mini"),
        (["reducer"], "no override"),
        (["limit=0"], "limit"),
    ],
)
def test_what_is_no_cell_is_refused_and_leaves_nothing(
    words: list[str], complaint: str, project: Project
) -> None:
    with pytest.raises(GridError, match=complaint):
        given(project.root, project.results, words)
    assert not project.results.exists()


def test_cells_gather_in_one_study_with_their_twins(project: Project) -> None:
    first = given(project.root, project.results, WORDS)
    second = given(project.root, project.results, [*WORDS, "limit=8"])
    again = given(project.root, project.results, ["task=mini_vqa", "reducer=ivtp", "reducer.tau=0.15"])
    assert again == first != second
    assert [(r["id"], r["row"]) for r in shown(project)] == [
        (first, "ivtp tau=0.15"),
        (second, "ivtp tau=0.15, limit 8"),
    ]
    known = {r["id"] for r in make(project.root, project.results, adhoc.NAME).rows}
    for row in shown(project):
        assert {row["baseline"], row["blind"]} <= known
        assert Cell.from_dict(row["cell"]).id() == row["id"]


def test_a_cell_by_hand_is_the_cell_of_a_study(project: Project) -> None:
    (row,) = [
        r
        for r in project.plan({"task": "mini_vqa", "reducer": {"ivtp": {"tau": 0.15}}}).rows
        if not r["support"]
    ]
    assert given(project.root, project.results, WORDS) == row["id"]


def test_nothing_given_yet_says_how(project: Project) -> None:
    with pytest.raises(GridError, match="prunegrid cell"):
        make(project.root, project.results, adhoc.NAME)
