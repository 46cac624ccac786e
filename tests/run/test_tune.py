"""The stage: trains into its folder, goes on after a signal, and its cells are answered with what was trained."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file, save_file

from grid.project import Project
from prunegrid.grid.cell import Cell
from prunegrid.mini import instruct
from prunegrid.run.errors import BuildError
from prunegrid.run.files import read_json, read_jsonl
from prunegrid.run.main import main
from prunegrid.run.predict import predict
from prunegrid.run.tune import tune
from prunegrid.tune.loop import Tuner
from prunegrid.tune.state import EXIT_CODE

from . import lab

QUICK = {"steps": 3, "batch": 4, "micro": 2, "rate": 0.05}


def planned(project: Project, tuning: Any, reducer: Any = "topk_cls", **more: Any) -> tuple[Cell, list[str]]:
    """A tuned cell on the tiny model with its adapters, and the conversations that they are trained on."""
    plan = lab.study(project, reducer, tuning=[tuning], **more)
    row = next(r for r in plan.rows if not r["support"])
    folder = project.results / "made" / row["adapters"][0]["made"]["digest"]
    if not folder.exists():
        instruct.write(folder, count=20)
    return Cell.from_dict(row["cell"]), [a["id"] for a in row["adapters"]]


def trained(project: Project, cell: Cell, ids: list[str]) -> list[Path]:
    for adapter in ids:
        tune(cell, adapter, project.results, project.root, "cpu")
    return [project.results / "adapters" / adapter for adapter in ids]


def test_a_tuning_leaves_weights_curves_faults_and_where_they_come_from(project: Project) -> None:
    cell, ids = planned(project, {"mini_lora": QUICK})
    (home,) = trained(project, cell, ids)
    names = {"weights.safetensors", "metrics.jsonl", "faults.json", "provenance.json"}
    assert {p.name for p in home.iterdir()} == names
    rows = list(read_jsonl(home / "metrics.jsonl", ""))
    assert [r["step"] for r in rows] == [1, 2, 3] and all(r["samples"] <= 4 for r in rows)
    assert read_json(home / "faults.json", "") == {"counts": {"read": 20}, "ids": {}}
    said = read_json(home / "provenance.json", "")
    assert said["adapter"] == ids[0] and said["digest"] == cell.tuning["digest"] and said["steps"] == 3
    assert not (project.results / "tuning" / ids[0] / "state.pt").exists()


def test_a_refactored_loop_can_be_accepted(project: Project) -> None:
    """The training keeps its id, so nothing is trained again."""
    cell, ids = planned(project, {"mini_lora": QUICK})
    home = project.results / "adapters" / ids[0]
    home.mkdir(parents=True)
    old = {"code": "0123456789ab", "tuning": {**cell.tuning, "code": "0123456789ab"}}
    (home / "provenance.json").write_text(json.dumps(old), encoding="utf-8")
    assert main(["--root", str(project.root), "accept", ids[0]]) == 0
    again, _ = planned(project, {"mini_lora": QUICK})
    assert again.tuning["code"] == "0123456789ab" and again.adapter_id() != ids[0]
    assert again.adapter_id() == replace(cell, tuning=old["tuning"]).adapter_id()


def test_a_tuned_cell_is_answered_with_what_was_trained(project: Project) -> None:
    cell, ids = planned(project, {"mini_lora": QUICK})
    with pytest.raises(BuildError, match=r"is missing: .* is evaluated with it"):
        predict(cell, project.results, project.root, "c")
    (home,) = trained(project, cell, ids)
    predict(cell, project.results, project.root, "c")
    folder = project.results / "predictions" / cell.prediction_id()
    tuned = (folder / "records.jsonl").read_text(encoding="utf-8")
    assert list(read_json(folder / "provenance.json", "")["adapters"]) == ids
    (free,) = lab.cells(lab.study(project, "topk_cls"))
    predict(free, project.results, project.root, "c")
    other = project.results / "predictions" / free.prediction_id() / "records.jsonl"
    assert other.read_text(encoding="utf-8") != tuned
    wrong = {"x": load_file(home / "weights.safetensors").popitem()[1]}
    how = {"tuning": json.dumps({"kind": "lora", "rank": 16, "alpha": 32})}
    save_file(wrong, home / "weights.safetensors", how)
    with pytest.raises(BuildError, match="does not fit this model"):
        predict(cell, project.results, project.root, "another")


def test_a_chain_starts_where_the_one_before_it_ended(project: Project) -> None:
    after = {"mini_full": {**QUICK, "after": {"mini_projector": QUICK}}}
    cell, ids = planned(project, after)
    with pytest.raises(BuildError, match="is missing or no tuning"):
        tune(cell, ids[1], project.results, project.root, "cpu")
    first, last = trained(project, cell, ids)
    said = read_json(last / "provenance.json", "")
    assert list(said["starts_from"]) == [ids[0]]
    name = "model.multi_modal_projector.linear_1.weight"
    a, b = (load_file(h / "weights.safetensors")[name] for h in (first, last))
    base = load_file(project.root / cell.model["path"] / "model.safetensors")
    original = next(w for n, w in base.items() if n.endswith("multi_modal_projector.linear_1.weight"))
    assert float((b - a).abs().max()) > 0 and float((a - original).abs().max()) > 0


def test_a_signal_saves_and_the_next_run_ends_with_the_same_bits(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, ids = planned(project, {"mini_lora": QUICK})
    (home,) = trained(project, cell, ids)
    want = (home / "weights.safetensors").read_bytes()
    for file in home.iterdir():
        file.unlink()
    real = Tuner.forward

    def forward(self: Tuner, batch: Any) -> Any:
        if self.order.micro and len(calls) == 2:
            os.kill(os.getpid(), signal.SIGUSR2)
        calls.append(1)
        return real(self, batch)

    calls: list[int] = []
    monkeypatch.setattr(Tuner, "forward", forward)
    file = project.results / "cells" / cell.id() / "cell.yaml"
    words = ["--root", str(project.root), "tune", str(file), "--device", "cpu"]
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == EXIT_CODE
    assert (project.results / "tuning" / ids[0] / "state.pt").exists() and not list(home.glob("*"))
    assert main(words) == 0
    assert (home / "weights.safetensors").read_bytes() == want


def test_a_failure_says_why_and_where(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    cell, ids = planned(project, {"mini_lora": QUICK})
    folder = project.results / "made" / cell.tuning["digest"]
    next((folder / "images").iterdir()).unlink()
    file = project.results / "cells" / cell.id() / "cell.yaml"
    assert main(["--root", str(project.root), "tune", str(file), "--device", "cpu"]) == 2
    assert "1 without its picture" in capsys.readouterr().err
    failed = read_json(project.results / "adapters" / ids[0] / "failed.json", "")
    assert failed["stage"] == "tune" and failed["log"] == f"logs/tune/{ids[0]}.log"
    assert yaml.safe_load(file.read_text(encoding="utf-8"))["adapter"] == ids[0]


LEARNED = {
    "c_abstractor": ({"side": 2}, 4),
    "qwen_resampler": ({"side": 2}, 4),
    "llama_vid": ({"side": 2, "width": 64}, 5),
    "crossget_tokens": ({"keep": 8}, 9),
}


@pytest.mark.parametrize("name", LEARNED)
def test_a_method_with_weights_of_its_own_is_trained_and_evaluated_with_them(
    project: Project, name: str
) -> None:
    options, tokens = LEARNED[name]
    cell, ids = planned(project, {"mini_projector": QUICK}, {name: options})
    (home,) = trained(project, cell, ids)
    assert any(n.startswith("reducer.") for n in load_file(home / "weights.safetensors"))
    predict(cell, project.results, project.root, "c")
    rows = list(read_jsonl(project.results / "predictions" / cell.prediction_id() / "trace.jsonl", ""))
    assert {r["visual"][0] for r in rows} == {tokens}
