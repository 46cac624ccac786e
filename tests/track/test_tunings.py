"""A tuning is one run with its curves, found again by every cell that shares it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prunegrid.track import runs
from prunegrid.track.tunings import tuning_entry, tuning_files

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
