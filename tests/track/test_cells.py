import json
import re
from pathlib import Path

import pytest

from report import synthetic

from .conftest import Tracked

TOPK = {"topk_cls keep=36": ("topk_cls", 36, 1)}


def snapshot(tracked: Tracked) -> list[object]:
    """Everything that a second tracking might change."""
    return sorted(
        [run.info.run_id, run.info.status, run.info.end_time, sorted(run.data.tags.items()),
         sorted(run.data.metrics.items())]
        for run in tracked.runs()
    )  # fmt: skip


def test_a_finished_cell(tracked: Tracked) -> None:
    (cell,) = synthetic.write_study(tracked.root, columns=["mini_pope"], rows=TOPK)
    assert tracked.run("cell", "--cell", cell["id"]) == 0
    (run,) = tracked.runs()
    score = json.loads((tracked.root / "cells" / cell["id"] / "score.json").read_text())
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "topk_cls keep=36 · mini_pope"
    assert run.info.end_time - run.info.start_time == 12_500
    metrics = run.data.metrics
    assert metrics["score"] == metrics["score/mini_pope"] == metrics["task/f1"] == score["metrics"]["f1"]
    assert metrics["score_low"] == pytest.approx(metrics["score"] - 0.03)
    assert metrics["delta_high"] == pytest.approx(metrics["delta"] + 0.02)
    assert metrics["tokens_mean"] == metrics["tokens_min"] == metrics["equivalent_tokens"] == 36
    assert {"retention", "retention_low", "retention_over_blind", "flops/total", "strict/f1"} <= set(metrics)
    assert run.data.params["reducer.keep"] == "36" and run.data.params["model.side"] == "12"
    tags = run.data.tags
    assert tags["cell_id"] == cell["id"] and tags["result_hash"] == score["result_hash"]
    assert (tags["current"], tags["mini"], tags["code_version"]) == ("true", "true", "c0de5eed")
    assert len(tags["data_digest"]) == 64  # two outs: a hash over both
    assert {i.dataset.name: i.dataset.digest for i in run.inputs.dataset_inputs} == {
        "data/scenes": "a" * 32, "data/weights": "b" * 32,
    }  # fmt: skip


def test_artefacts_of_a_finished_cell(tracked: Tracked) -> None:
    (cell,) = synthetic.write_study(tracked.root, columns=["mini_pope"], rows=TOPK)
    tracked.run("cell", "--cell", cell["id"])
    (run,) = tracked.runs()
    pictures = sorted(tracked.artefacts(run, "images"))
    named = r"images/(kept_tokens_\d|token_counts)\+step\+0\+timestamp\+0\+[0-9a-f-]{36}(\+compressed\.webp|\.png)"
    assert [re.fullmatch(named, file)[1] for file in pictures] == [
        key for key in ("kept_tokens_1", "kept_tokens_2", "kept_tokens_3", "token_counts") for _ in range(2)
    ]
    assert run.data.tags["mlflow.loggedImages"] == "True"
    assert tracked.artefacts(run, "predictions") >= {"predictions/records.jsonl", "predictions/trace.jsonl"}
    assert tracked.artefacts(run, "cell") == {
        "cell/cell.yaml", "cell/score.json", "cell/cost.json", "cell/paired.json",
    }  # fmt: skip
    assert run.info.artifact_uri.startswith((tracked.root.parent / "mlartifacts" / "demo").as_uri())


def test_a_run_says_where_its_cell_lies(tracked: Tracked) -> None:
    (cell,) = synthetic.write_study(tracked.root, columns=["mini_pope"], rows=TOPK)
    tracked.run("cell", "--cell", cell["id"])
    (run,) = tracked.runs()
    folder = run.data.tags["cell_folder"]
    assert Path(folder).is_absolute() and (Path(folder) / "score.json").is_file()
    assert (Path(run.data.tags["prediction_folder"]) / "records.jsonl").is_file()
    assert f"`{folder}`" in run.data.tags["mlflow.note.content"]


def test_runs_of_one_method_have_its_colour(tracked: Tracked) -> None:
    synthetic.write_study(tracked.root, columns=["mini_pope"])
    tracked.run("study")
    seen: dict[str, set[str]] = {}
    for run in tracked.runs("tags.kind = 'cell'"):
        seen.setdefault(run.data.tags["reducer"], set()).add(run.data.tags["mlflow.runColor"])
    assert all(len(colours) == 1 for colours in seen.values()) and seen["none"] == {"#000000"}
    assert len({colour for (colour,) in seen.values()}) == len(seen) == 5


def test_marked_as_tracked(tracked: Tracked) -> None:
    (cell,) = synthetic.write_study(tracked.root, columns=["mini_pope"], rows=TOPK)
    tracked.run("cell", "--cell", cell["id"])
    (run,) = tracked.runs()
    mark = json.loads((tracked.root / "tracked" / "demo" / f"{cell['id']}.json").read_text())
    assert mark["run_id"] == run.info.run_id and mark["result_hash"] == run.data.tags["result_hash"]


def test_tracking_twice_adds_nothing(tracked: Tracked) -> None:
    cells = synthetic.write_study(tracked.root, columns=["mini_pope"], failed=[("blind", "mini_pope")])
    ids = [cell["id"] for cell in cells[:3]]  # one of them failed
    tracked.run("cell", "--cell", *ids)
    before = snapshot(tracked)
    assert len(before) == 3
    tracked.run("cell", "--cell", *ids)
    assert snapshot(tracked) == before


def test_a_rerun_becomes_current_and_the_old_run_stays(tracked: Tracked) -> None:
    (cell,) = synthetic.write_study(tracked.root, columns=["mini_pope"], rows=TOPK)
    tracked.run("cell", "--cell", cell["id"])
    (old,) = tracked.runs()
    synthetic.write_cell(tracked.root, cell, shift=0.05)
    tracked.run("cell", "--cell", cell["id"])
    assert len(tracked.runs()) == 2
    (current,) = tracked.runs("tags.current = 'true'")
    (marked,) = tracked.runs("tags.current = 'false'")
    assert marked.info.run_id == old.info.run_id != current.info.run_id
    assert marked.data.metrics == old.data.metrics
    mark = json.loads((tracked.root / "tracked" / "demo" / f"{cell['id']}.json").read_text())
    assert mark["run_id"] == current.info.run_id


def test_an_old_result_that_returns_is_current_again(tracked: Tracked) -> None:
    (cell,) = synthetic.write_study(tracked.root, columns=["mini_pope"], rows=TOPK)
    for shift in (0.0, 0.05, 0.0):
        synthetic.write_cell(tracked.root, cell, shift=shift)
        tracked.run("cell", "--cell", cell["id"])
    (current,) = tracked.runs("tags.current = 'true'")
    score = json.loads((tracked.root / "cells" / cell["id"] / "score.json").read_text())
    assert len(tracked.runs()) == 2 and current.data.metrics["score"] == score["metrics"]["f1"]


def test_a_new_baseline_updates_the_run_in_place(tracked: Tracked) -> None:
    (cell,) = synthetic.write_study(tracked.root, columns=["mini_pope"], rows=TOPK)
    tracked.run("cell", "--cell", cell["id"])
    synthetic.write_paired(tracked.root, cell, 0.75, 0.01)  # the score is the same, the baseline is another
    tracked.run("cell", "--cell", cell["id"])
    (run,) = tracked.runs()
    assert run.data.metrics["delta"] == pytest.approx(-0.10)
    paired = tracked.client.download_artifacts(run.info.run_id, "cell/paired.json")
    assert json.loads(Path(paired).read_text())["baseline"]["delta"] == pytest.approx(-0.10)


def test_a_failed_cell(tracked: Tracked) -> None:
    place = ("topk_cls keep=36", "mini_pope")
    (cell,) = synthetic.write_study(tracked.root, columns=["mini_pope"], rows=TOPK, failed=[place])
    assert tracked.run("cell", "--cell", cell["id"]) == 0
    (run,) = tracked.runs()
    assert run.info.status == "FAILED" and run.data.metrics == {}
    assert run.data.tags["failure"] == "CUDA out of memory" and run.data.tags["failed_stage"] == "predict"
    assert "RuntimeError: CUDA out of memory" in run.data.tags["mlflow.note.content"]
    assert "log_tail.txt" in tracked.artefacts(run)
    assert not (tracked.root / "tracked").exists()  # the workflow must not take it for done


def test_a_cell_that_recovers(tracked: Tracked) -> None:
    place = ("topk_cls keep=36", "mini_pope")
    (cell,) = synthetic.write_study(tracked.root, columns=["mini_pope"], rows=TOPK, failed=[place])
    tracked.run("cell", "--cell", cell["id"])
    (tracked.root / "predictions" / cell["prediction"] / "failed.json").unlink()
    synthetic.write_cell(tracked.root, cell)
    tracked.run("cell", "--cell", cell["id"])
    states = {run.info.status: run.data.tags["current"] for run in tracked.runs()}
    assert states == {"FAILED": "false", "FINISHED": "true"}


def test_a_run_of_unknown_length_does_not_last_until_it_is_tracked(tracked: Tracked) -> None:
    (cell,) = synthetic.write_study(tracked.root, columns=["mini_pope"], rows=TOPK)
    (tracked.root / "predictions" / cell["prediction"] / "timing.json").unlink()
    tracked.run("cell", "--cell", cell["id"])
    (run,) = tracked.runs()
    assert run.info.end_time - run.info.start_time < 600_000


def test_two_studies_have_a_run_each(tracked: Tracked) -> None:
    cells = synthetic.write_study(tracked.root, columns=["mini_pope"], rows=TOPK)
    synthetic.dump(tracked.root / "plan" / "other.json", {"study": "other", "cells": cells})
    for study in ("demo", "other"):
        assert tracked.run("cell", "--cell", cells[0]["id"], study=study) == 0
    (first,), (second,) = tracked.runs(study="demo"), tracked.runs(study="other")
    assert first.info.run_id != second.info.run_id
    assert first.data.tags["result_hash"] == second.data.tags["result_hash"]


def test_a_missing_cell_is_an_error(tracked: Tracked, capsys: pytest.CaptureFixture[str]) -> None:
    place = ("topk_cls keep=36", "mini_pope")
    (cell,) = synthetic.write_study(tracked.root, columns=["mini_pope"], rows=TOPK, missing=[place])
    assert tracked.run("cell", "--cell", cell["id"]) == 1
    assert f"cell {cell['id']!r} has no result" in capsys.readouterr().err
    assert tracked.client.get_experiment_by_name("demo") is None


def test_a_foreign_cell_is_an_error(tracked: Tracked, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic.write_study(tracked.root, columns=["mini_pope"], rows=TOPK)
    assert tracked.run("cell", "--cell", "mini-nope") == 1
    assert "does not stand in study 'demo'" in capsys.readouterr().err


def test_numbers_that_are_not_finite_are_left_out(tracked: Tracked) -> None:
    (cell,) = synthetic.write_study(tracked.root, columns=["mini_pope"], rows=TOPK)
    paired = {"baseline": {"delta": 0.1, "interval": [None, None], "retention": None}, "blind": None}
    synthetic.dump(tracked.root / "cells" / cell["id"] / "paired.json", paired)
    tracked.run("cell", "--cell", cell["id"])
    (run,) = tracked.runs()
    assert run.data.metrics["delta"] == 0.1
    assert not {"delta_low", "retention", "retention_over_blind"} & set(run.data.metrics)
