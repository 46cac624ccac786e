"""What kept.json says becomes metrics of the cell's run, with intervals, and the file an artefact."""

from __future__ import annotations

import pytest

from report import synthetic

from .conftest import Tracked


def test_kept_patches_are_metrics(tracked: Tracked) -> None:
    (cell,) = synthetic.write_study(
        tracked.root, columns=["a"], rows={"topk_cls keep=36": ("topk_cls", 36, 1)}
    )
    said = {
        "objects": {"precision": {"value": 0.8, "low": 0.7, "high": 0.9}},
        "tokens": {"variation": {"value": 0.0, "low": None, "high": None}, "min": 36, "max": 36, "floor": 4},
    }
    synthetic.dump(tracked.root / "cells" / cell["id"] / "kept.json", said)
    tracked.run("cell", "--cell", cell["id"])
    (run,) = tracked.runs()
    kept = {name: value for name, value in run.data.metrics.items() if name.startswith("kept/")}
    assert kept == pytest.approx(
        {
            "kept/objects/precision": 0.8,
            "kept/objects/precision_low": 0.7,
            "kept/objects/precision_high": 0.9,
            "kept/tokens/variation": 0.0,
        }
    )
    assert "cell/kept.json" in tracked.artefacts(run, "cell")
