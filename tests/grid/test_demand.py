"""Memory and time that a prediction asks for."""

from pathlib import Path
from typing import Any

import pytest

from prunegrid.grid.demand import UNKNOWN_QUESTIONS, of_prediction, parameters_of, questions


def cell(
    layers: int = 32, dtype: str = "float16", limit: int | None = None, new: int = 128
) -> dict[str, Any]:
    return {
        "model": {"llm_layers": layers, "dtype": dtype},
        "task": {"data": "data/bench/x", "file": "x.jsonl", "max_new_tokens": new},
        "limit": limit,
    }


@pytest.mark.parametrize(("layers", "billions"), [(32, 6.7), (40, 13.0)])
def test_the_size_of_a_llama_from_its_layers(layers, billions):
    assert parameters_of({"llm_layers": layers}) == pytest.approx(billions * 1e9, rel=0.08)


def test_weights_fit_into_the_memory_asked_for(tmp_path):
    small, seven, thirteen = (of_prediction(cell(layers), tmp_path).mem_mb for layers in (6, 32, 40))
    assert 4000 < small < 6000
    assert seven > 2 * 6.7e9 / 1e6 + 3000 and seven < 30_000
    assert thirteen > 2 * 13e9 / 1e6 + 3000 and thirteen < 60_000
    assert of_prediction(cell(dtype="float32"), tmp_path).mem_mb > 4 * 6.7e9 / 1e6


def test_time_grows_with_questions_and_answers(tmp_path):
    times = [of_prediction(cell(limit=n), tmp_path).runtime for n in (10, 1000, 5000)]
    assert times == sorted(times) and times[0] >= 15 and times[2] > 60
    assert of_prediction(cell(limit=5000, new=4), tmp_path).runtime < times[2]


def test_each_attempt_asks_for_more_of_both(tmp_path):
    first, third = (of_prediction(cell(limit=100), tmp_path, attempt) for attempt in (1, 3))
    assert third.mem_mb == pytest.approx(2.25 * first.mem_mb, abs=2)
    assert third.runtime == pytest.approx(4 * first.runtime, abs=3)


def test_questions_are_counted_where_the_data_is(tmp_path: Path):
    assert questions(cell(), tmp_path) == UNKNOWN_QUESTIONS
    assert questions(cell(limit=64), tmp_path) == 64
    file = tmp_path / "data/bench/x/x.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text('{"id": 1}\n' * 30)
    assert questions(cell(), tmp_path) == 30
    assert questions(cell(limit=64), tmp_path) == 30 and questions(cell(limit=8), tmp_path) == 8
