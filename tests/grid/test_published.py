"""What a study may say of a paper's figures is checked when it is read."""

from typing import Any

import pytest

from prunegrid.grid.errors import GridError
from prunegrid.grid.published import checked


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"value": {}}, r"unknown key 'value'"),
        (
            {"values": {"row": {"pope": "76.3"}}},
            r"published\.values\.row must be a mapping of column to number",
        ),
        ({"tokens": {"row": 40}}, r"published\.tokens\.row must be a mapping"),
        ({"mean": {"row": "62"}}, r"published\.mean\.row must be a number, not '62'"),
        ({"notes": ["a", "b"]}, r"published\.notes must be a text"),
        ({"source": 3}, r"published\.source must be a text, not 3"),
        ({"model": ["a", 7]}, r"published\.model must be a name or a list of names, not 7"),
        ({"metric": {"pope": 1}}, r"published\.metric must be a mapping of task to definition"),
        ({"metric": "f1"}, r"published\.metric must be a mapping"),
    ],
)
def test_what_could_not_be_shown_is_refused(given: Any, said: str) -> None:
    with pytest.raises(GridError, match=said):
        checked(given, "conf/study/x.yaml")


def test_a_complete_one_is_taken_as_it_is() -> None:
    given = {
        "model": ["a"], "source": "Table 1", "metric": {"t": "m"}, "values": {"r": {"t": 1}}, "mean": {"r": 2.5},
        "tokens": {"r": {"t": 40}}, "notes": "n",
    }  # fmt: skip
    assert checked(given, "x") == given
