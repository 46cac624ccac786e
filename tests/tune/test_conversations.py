"""LLaVA's files are read as LLaVA reads them; what is wrong with them is counted, named and has a limit."""

from __future__ import annotations

from typing import Any

import pytest

from prunegrid.tune.conversations import read
from prunegrid.tune.errors import TuneError

from .lab import SHOWN, TEXT, TWICE, Lab, said


def test_what_is_right_is_read_in_order(lab: Lab) -> None:
    file = lab.write(
        {"id": "a", "image": "0.png", "conversations": SHOWN},
        {"id": "b", "image": "1.png", "conversations": TWICE},
        {"id": 7, "conversations": TEXT},
        {"id": "d", "conversations": [{"from": "gpt", "value": "Hi"}, *TEXT]},
    )
    made, faults = read(file, lab.folder / "images")
    assert [c.id for c in made] == ["a", "b", "7", "d"]
    assert made[0].turns == (("What color is the circle?", "red"),)
    assert made[1].turns[0] == ("What shape is the red object?", "circle")  # wherever the placeholder stood
    assert made[1].image == lab.folder / "images" / "1.png"
    assert made[2].image is None and made[3].turns == made[2].turns
    assert faults.counts() == {"read": 4}


BROKEN: dict[str, Any] = {
    "no conversations": {"id": "x"},
    "no mapping": "x",
    "no answer": {"conversations": said("a", "b", "c")},
    "empty answer": {"conversations": said("a", " ")},
    "empty": {"conversations": []},
    "two humans": {"conversations": [SHOWN[0], SHOWN[0]]},
    "placeholder without picture": {"conversations": SHOWN},
    "picture without placeholder": {"image": "0.png", "conversations": TEXT},
    "two placeholders": {"image": "0.png", "conversations": said("<image><image>a", "b")},
    "placeholder later": {"image": "0.png", "conversations": said("a", "b", "<image>\nc", "d")},
    "outside its folder": {"image": "../llava/config.json", "conversations": SHOWN},
    "absolute": {"image": "/etc/hostname", "conversations": SHOWN},
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_counted_and_left_out(lab: Lab, what: str) -> None:
    good = {"id": "good", "image": "0.png", "conversations": SHOWN}
    made, faults = read(lab.write(BROKEN[what], good), lab.folder / "images")
    assert [c.id for c in made] == ["good"]
    assert faults.counts() == {"read": 2, "broken": 1}


def test_faults_have_a_limit_past_which_nothing_runs(lab: Lab) -> None:
    rows = [{"id": f"g{k}", "image": "0.png", "conversations": SHOWN} for k in range(8)]
    rows += [{"id": "lost", "image": "9.png", "conversations": SHOWN}, {"id": "bad", "conversations": SHOWN}]
    file = lab.write(*rows)
    made, faults = read(file, lab.folder / "images")
    assert len(made) == 8
    assert faults.found == {"without its picture": ["lost"], "broken": ["bad"]}
    faults.check(0.2, file)
    with pytest.raises(TuneError, match=r"1 broken \(bad\).*more than faults=0.19"):
        faults.check(0.19, file)


@pytest.mark.parametrize("text", ["", "[", "{}", "[]"])
def test_a_file_that_is_no_list_is_named(lab: Lab, text: str) -> None:
    file = lab.folder / "cut.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(TuneError, match=r"cut\.json"):
        read(file, lab.folder)
