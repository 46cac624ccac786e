"""conf/expected.yaml: complete, by known definitions, and consistent with itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from prunegrid.run.expected import FILE, beside, load
from prunegrid.tasks import TaskError
from prunegrid.tasks.definitions import COMPOSITES, DEFINITIONS, composite, definitions

ROOT = Path(__file__).parents[2]
ROWS = {b.name: b for b in load(ROOT / FILE)}
TASKS = {f.stem for f in (ROOT / "conf" / "task").glob("*.yaml")}


def test_the_four_checkpoints_of_the_authors_and_the_retrains_are_apart() -> None:
    kinds = {name: (b.model, b.training) for name, b in ROWS.items()}
    assert kinds["llava15_7b"] == ("llava15_7b", "full") and kinds["llava15_7b_lora"] == (
        "llava15_7b_lora",
        "lora",
    )
    assert kinds["ivtp_7b_retrain"] == (None, "retrain") and kinds["fastervlm_7b"][1] == "rerun"
    assert all(b.source and b.checkpoint for b in ROWS.values())


def test_every_model_is_an_option() -> None:
    models = {f.stem for f in (ROOT / "conf" / "model").glob("*.yaml")}
    assert {b.model for b in ROWS.values() if b.model} <= models


@pytest.mark.parametrize("name", ["ivtp_7b_paper", "ivtp_7b_retrain", "ivtp_13b_paper", "ivtp_13b_retrain"])
def test_ivtps_average_is_the_plain_mean_of_its_twelve_numbers(name: str) -> None:
    scores = ROWS[name].scores
    assert composite("ivtp_average_12", scores) == pytest.approx(scores["ivtp_average_12"], abs=0.05)


def test_ivtp_prints_a_twentieth_of_the_perception_sum() -> None:
    for paper, authors in (("ivtp_7b_paper", "llava15_7b"), ("ivtp_13b_paper", "llava15_13b")):
        percent = ROWS[authors].scores["mme_perception"] * DEFINITIONS["mme_perception_2000"].factor
        assert percent == pytest.approx(ROWS[paper].scores["mme_perception_2000"], abs=0.05)


def test_a_composite_wants_its_own_definitions() -> None:
    scores = dict(ROWS["ivtp_7b_paper"].scores)
    scores["mme_total"] = scores.pop("mme_perception_2000")
    with pytest.raises(TaskError, match="mme_perception_2000 missing; another definition does not stand in"):
        composite("ivtp_average_12", scores)
    with pytest.raises(TaskError, match="composite 'mean'"):
        composite("mean", {})


def test_definitions_name_tasks_that_are_there() -> None:
    assert {task for d in DEFINITIONS.values() for task in d.tasks} <= TASKS
    assert {part for parts in COMPOSITES.values() for part in parts} <= set(DEFINITIONS)
    assert [d.name for d in definitions("seed", 17_990)] == [
        "seed_all",
        "seed_all_17990",
        "seed_image",
        "seed_video",
    ]
    assert "seed_all_17990" not in [d.name for d in definitions("seed", 19_242)]


def test_only_the_same_definition_stands_beside_a_number() -> None:
    found = beside(ROWS.values(), ["pope_f1_pooled"])
    assert [(row["row"], row["scores"]) for row in found] == [("files_13b", {"pope_f1_pooled": 85.93})]
    assert beside(ROWS.values(), ["mme_total"]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": {"pope": 85.9}}, "'pope' is no definition"),
        ({"scores": {"pope_f1_mean": "85.9"}}, "pope_f1_mean '85.9' is no number"),
        ({"training": "tuned"}, "training 'tuned' must be one of full, lora"),
        ({"extra": 1}, "fields must be checkpoint"),
    ],
)
def test_bad_rows(tmp_path: Path, change: dict[str, object], message: str) -> None:
    row = {
        "checkpoint": "c",
        "model": None,
        "training": "full",
        "source": "s",
        "scores": {"mmvet": 31.1},
        **change,
    }
    file = tmp_path / "expected.yaml"
    file.write_text(yaml.safe_dump({"rows": {"a": row}}), encoding="utf-8")
    with pytest.raises(TaskError, match=message):
        load(file)
