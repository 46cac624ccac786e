"""Twins on the embedded model: what a study's own `mini` changes in them."""

from __future__ import annotations

from typing import Any

import pytest

from .project import Project

REDUCERS = [
    "none",
    *({"random": {"keep": n, "as": f"Random {n}"}} for n in (2, 4, 40)),
    {"tome": {"as": "ToMe"}},
]


def rows(project: Project, mini: dict[str, Any], **block: Any) -> set[str]:
    """Labels of the rows that the twin shows."""
    big = {"model": "llava15_7b", "task": "pope", "reducer": REDUCERS, **block}
    project.study("big", big, mini=mini, layout={"rows": ["reducer", "tuning"]})
    return {row["row"] for row in project.plan(name="mini_big").rows if not row["support"]}


@pytest.mark.parametrize(
    ("without", "left"),
    [
        ([], {"none", "Random 2", "Random 4", "Random 40", "ToMe"}),
        (["Random 4"], {"none", "Random 2", "Random 40", "ToMe"}),
        (["Random *"], {"none", "ToMe"}),
        (["* 4", "To*"], {"none", "Random 2", "Random 40"}),
        (["random*"], {"none", "Random 2", "Random 4", "Random 40", "ToMe"}),
    ],
)
def test_reducers_are_left_out_by_their_labels(without: list[str], left: set[str], project: Project) -> None:
    assert rows(project, {"without": without}) == left


def test_two_blocks_that_become_the_same_are_one(project: Project) -> None:
    """Training-free and retrained, where the twin trains nothing."""
    block = {"model": "llava15_7b", "task": "pope", "reducer": ["none", "random"]}
    retrained = {**block, "model": "vicuna7b_stage1", "tuning": "full"}
    mini = {"tuning": {"none": {"as": "PI"}}}
    project.study(
        "both", {**block, "tuning": "none"}, retrained, mini=mini, layout={"rows": ["reducer", "tuning"]}
    )
    shown = [row for row in project.plan(name="mini_both").rows if not row["support"]]
    assert [row["row"] for row in shown] == ["none, PI", "random, PI"]
    assert not [row for row in shown if row["adapters"]]
