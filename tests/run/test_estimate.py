"""What a plan will take: jobs counted once, hours that follow from stated assumptions."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml

from prunegrid.grid.errors import GridError
from prunegrid.grid.plan import draft
from prunegrid.run.estimate import Estimate, estimate

ROOT = Path(__file__).parents[2]
ASSUMED = yaml.safe_load((ROOT / "conf" / "estimate.yaml").read_text(encoding="utf-8"))


def of(study: str, hardware: str, tmp_path: Path, **choose: object) -> Estimate:
    return estimate(draft(ROOT, tmp_path, study, choose), ROOT, hardware)


def test_shared_trainings_are_counted_once(tmp_path: Path) -> None:
    found = of("prumerge_table1", "h100", tmp_path)
    assert (found.cells, found.predictions) == (24, 36)
    assert (found.trainings, found.shared) == (4, 4)  # none, blind, PruMerge, PruMerge+; six benchmarks each


def test_hours_follow_from_the_roofline(tmp_path: Path) -> None:
    """One prediction of a 7B model by hand: 2 FLOPs per weight and token at prefill, weights read per token after."""
    found = of("prumerge_figure4", "a100_40g", tmp_path)
    rate, width, weights = 312e12, 1555e9, 6.74e9
    tokens, new = 576 + ASSUMED["text"], ASSUMED["answer"]["default"]
    each = (
        2 * weights * tokens / rate + (new - 1) * 2 * weights / width / 32
    )  # batches of 32 read the weights once
    hours = found.predictions * (ASSUMED["start"]["default"] + 200 * each / ASSUMED["efficiency"]) / 3600
    assert found.prediction_hours == pytest.approx(
        hours, rel=0.15
    )  # the ViT, attention and activations beside it
    assert found.training_hours == 0


def test_faster_hardware_and_fewer_questions_take_less(tmp_path: Path) -> None:
    full = of("prumerge_table4", "v100", tmp_path).prediction_hours
    assert of("prumerge_table4", "h100", tmp_path).prediction_hours < full
    assert of("prumerge_table4", "v100", tmp_path, limit=64).prediction_hours < full


def test_unknown_hardware_is_an_error_that_lists_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(GridError, match="h100"):
        of("smoke", "h1000", tmp_path)


@pytest.mark.parametrize("task", ASSUMED["questions"])
def test_questions_are_those_that_adding_the_data_checks(task: str) -> None:
    module = "textvqa" if task == "textvqa_noocr" else task
    counts = importlib.import_module(f"prunegrid.benchmarks.{module}").COUNTS
    assert ASSUMED["questions"][task] in counts
