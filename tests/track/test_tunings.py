"""A tuning is one run with its curves, found again by every cell that shares it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prunegrid.track import runs
from prunegrid.track.tunings import tuning_entry, tuning_files
from report import synthetic

from .conftest import Tracked

ID = "mini-mini_lora-topk_cls-0123456789"


def finished(root: Path, loss: float = 1.0) -> None:
    home = root / "adapters" / ID
    home.mkdir(parents=True, exist_ok=True)
    said: dict[str, Any] = {
        "model": {"name": "mini"},
        "tuning": {
            "name": "mini_lora",
            "rate": 0.001,
            "seed": 2,
            "reducer": {"name": "topk_cls", "keep": 16},
        },
        "data": {"data/mini/weights": "a" * 32},
        "digest": "0123456789ab",
        "code": "abc",
        "steps": 3,
        "parameters": 70,
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 2.0,
    }
    (home / "provenance.json").write_text(json.dumps(said), encoding="utf-8")
    (home / "faults.json").write_text("{}", encoding="utf-8")
    lines = [json.dumps({"step": k, "loss": loss / k, "rate": 0.1}) for k in (1, 2, 3)]
    (home / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_tuning_is_one_run_with_its_curves(tracked: Tracked) -> None:
    assert tuning_entry(tracked.root, ID) is None
    finished(tracked.root)
    where = str(tracked.client.create_experiment("demo"))

    def track() -> tuple[str, bool]:
        entry = tuning_entry(tracked.root, ID)
        assert entry is not None
        return runs.track(
            tracked.client, where, entry, lambda scratch: tuning_files(tracked.root, ID, scratch)
        )

    first, new = track()
    assert new and track() == (first, False)
    history = tracked.client.get_metric_history(first, "tuning/loss")
    assert [(m.step, m.value) for m in history] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    (run,) = tracked.runs()
    assert run.data.params["tuning.rate"] == "0.001" and run.data.params["tuning.reducer.keep"] == "16"
    assert run.data.tags["kind"] == "tuning" and run.data.tags["adapter_id"] == ID
    assert tracked.artefacts(run, "tuning") == {
        f"tuning/{n}" for n in ("provenance.json", "faults.json", "metrics.jsonl")
    }
    finished(tracked.root, loss=2.0)
    again, new = track()
    assert new and again != first
    assert [r.info.run_id for r in tracked.runs("tags.current = 'true'")] == [again]


def test_tunings_have_an_experiment_of_their_own_that_cells_link(tracked: Tracked) -> None:
    cells = synthetic.write_study(
        tracked.root, columns=["a"], rows={"none": ("none", 144, 1), "topk": ("topk_cls", 36, 2)}
    )
    for cell in cells[1:]:
        cell |= {"adapter": ID, "adapters": [{"id": ID}]}
    synthetic.dump(tracked.root / "plan" / "demo.json", {"study": "demo", "cells": cells})
    finished(tracked.root)
    assert tracked.run("study") == 0
    assert tracked.runs("tags.kind = 'tuning'") == []
    (tuning,) = tracked.runs(study="tunings")  # one, for both seeds
    used = tracked.runs(f"tags.adapter_id = '{tuning.data.tags['adapter_id']}'")
    assert {run.data.tags["cell_id"] for run in used} == {cell["id"] for cell in cells[1:]}
    link = f"[{ID}](#/experiments/{tuning.info.experiment_id}/runs/{tuning.info.run_id}?workflowType=machine_learning)"
    assert all(link in run.data.tags["mlflow.note.content"] for run in used)
    experiment = tracked.client.get_experiment_by_name("tunings")
    assert experiment is not None and "adapter_id" in experiment.tags["mlflow.note.content"]
    assert experiment.artifact_location == (tracked.root.parent / "mlartifacts" / "tunings").as_uri()


def test_a_tuning_that_is_not_finished_is_no_run_and_no_link(tracked: Tracked) -> None:
    (cell,) = synthetic.write_study(tracked.root, columns=["a"], rows={"topk": ("topk_cls", 36, 1)})
    cell |= {"adapter": ID, "adapters": [{"id": ID}]}
    synthetic.dump(tracked.root / "plan" / "demo.json", {"study": "demo", "cells": [cell]})
    assert tracked.run("study") == 0
    assert tracked.client.get_experiment_by_name("tunings") is None
    (run,) = tracked.runs("tags.kind = 'cell'")
    assert run.data.tags["adapter_id"] == ID and "Tuned:" not in run.data.tags["mlflow.note.content"]


def test_a_study_may_not_take_the_tunings_name(tracked: Tracked, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic.write_study(tracked.root, "tunings", columns=["a"], rows={"none": ("none", 144, 1)})
    assert tracked.run("study", study="tunings") == 1
    assert "rename the study" in capsys.readouterr().err
