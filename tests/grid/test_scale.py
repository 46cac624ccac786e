"""Figures of the papers at another model's size."""

from __future__ import annotations

from typing import Any

import pytest

from prunegrid.grid.errors import GridError
from prunegrid.grid.scale import rescale

FULL = {"tokens": 576, "side": 24, "vision_layers": 24, "llm_layers": 32}
MINI = {"tokens": 144, "side": 12, "vision_layers": 6, "llm_layers": 6}


@pytest.mark.parametrize("value", [None, 3, 0.25, "iqr", True, [1, 2], "{of: 576}"])
def test_what_is_no_figure_stays_as_it_is(value: Any) -> None:
    assert rescale(value, MINI, "here") is value


@pytest.mark.parametrize("kind", ["keep", "side", "vision", "llm"])
def test_every_figure_is_itself_at_its_own_shape(kind: str) -> None:
    size = {"keep": "tokens", "side": "side", "vision": "vision_layers", "llm": "llm_layers"}[kind]
    for figure in range(1, FULL[size] + 1):
        assert rescale({"of": FULL[size], kind: figure}, FULL, "here") == figure


def test_scaling_keeps_order_and_ends() -> None:
    scaled = [rescale({"of": 576, "keep": k}, MINI, "here") for k in range(1, 577)]
    assert scaled == sorted(scaled)
    assert (scaled[0], scaled[-1]) == (1, 144)


def test_halves_are_rounded_up() -> None:
    assert rescale({"of": 24, "side": 5}, MINI, "here") == 3
    assert rescale({"of": 24, "side": 7}, MINI, "here") == 4


def test_a_list_of_layers_gives_a_list() -> None:
    assert rescale({"of": 32, "llm": (8, 16, 24)}, {**MINI, "llm_layers": 12}, "here") == [3, 6, 9]


def test_like_is_left_for_the_plan() -> None:
    assert rescale({"like": "prumerge"}, MINI, "here") == {"like": "prumerge"}


@pytest.mark.parametrize(
    ("figure", "named"),
    [
        ({"of": 576, "keep": 0}, "0 of 576"),
        ({"of": 576, "keep": -1}, "-1 of 576"),
        ({"of": 576, "keep": 577}, "577 of 576"),
        ({"of": 576, "keep": 0.5}, "0.5 of 576"),
        ({"of": 576, "keep": True}, "True of 576"),
        ({"of": 32, "llm": [8, 40]}, "40 of 32"),
        ({"of": 0, "keep": 1}, "1 of 0"),
        ({"of": "many", "keep": 1}, "1 of 'many'"),
        ({"of": 576}, "no figure"),
        ({"keep": 64}, "no figure"),
        ({"of": 576, "keep": 64, "side": 8}, "no figure"),
        ({"of": 576, "kept": 64}, "kept"),
        ({"like": "prumerge", "keep": 1}, "no figure"),
        ({}, "no figure"),
    ],
)
def test_a_bad_figure_is_named_with_its_place(figure: Any, named: str) -> None:
    with pytest.raises(GridError, match=r"conf/study/x\.yaml: reducer\.keep") as caught:
        rescale(figure, MINI, "conf/study/x.yaml: reducer.keep")
    assert named in str(caught.value)
