"""The DAG of a tuned study: each training once, before what is answered with it, after the data that it reads."""

from __future__ import annotations

from pathlib import Path

from prunegrid.grid.plan import look

from . import project


def test_every_training_is_planned_once_and_before_its_cells(tmp_path: Path) -> None:
    folder = project.clone(tmp_path / "project")
    done = project.snakemake(folder, "-n", "--config", "study=lora", "limit=4")
    assert done.returncode == 0, done.stdout + done.stderr
    cells = look(folder, folder / "results", "lora", {"limit": 4}).rows
    trainings = {each["id"] for row in cells for each in row["adapters"]}
    said = done.stdout + done.stderr
    counts = {
        line.split()[0]: int(line.split()[1]) for line in said.splitlines() if line[:4] in ("tune", "tuni")
    }
    assert counts == {"tune": len(trainings), "tuning_data": 1}
    assert len(trainings) < sum(len(row["adapters"]) for row in cells)  # tasks share them
    for each in trainings:
        assert f"results/adapters/{each}/weights.safetensors" in said
    first = min(said.index(f"results/adapters/{each}/weights") for each in trainings)
    assert said.index("results/made/") < first
