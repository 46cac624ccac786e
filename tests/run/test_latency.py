"""Stage `latency`: what it writes, what it stands beside, and that it changes nothing else."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from grid.project import Project
from prunegrid.cost.devices import unnamed
from prunegrid.grid.cell import Cell
from prunegrid.latency import machine
from prunegrid.run.files import Files
from prunegrid.run.latency import latency
from prunegrid.run.latency_commands import BY_HAND
from prunegrid.run.main import main

from . import lab

SETTINGS = {"batch_sizes": [1, 2], "new_tokens": [1, 3], "repeats": 2, "warmup": 1}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return lab.build(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def cell(project: Project) -> Cell:
    return lab.cells(lab.study(project, {"topk_cls": {"keep": 5}}))[0]


@pytest.fixture(scope="module")
def made(project: Project, cell: Cell) -> dict[str, Any]:
    latency(cell, project.results, project.root, SETTINGS)
    file = Files.of(project.results, cell).cell / "latency.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def test_every_point_is_measured(made: dict[str, Any]) -> None:
    assert [(p["batch_size"], p["new_tokens"]) for p in made["points"]] == [(1, 1), (1, 3), (2, 1), (2, 3)]
    for point in made["points"]:
        assert point["visual_tokens"] == 5
        assert point["repeats"] == 2
        assert 0 < point["seconds"]["first"]["median"] <= point["seconds"]["total"]["median"]


def test_flops_are_those_of_what_was_said(made: dict[str, Any]) -> None:
    flops = {(p["batch_size"], p["new_tokens"]): p["flops"] for p in made["points"]}
    assert flops[1, 1]["decode"] == 0 < flops[1, 3]["decode"]
    assert flops[1, 1]["vision"] == flops[2, 3]["vision"] > 0  # of one sample, whatever the batch
    assert flops[1, 1]["reducer"] == flops[2, 3]["reducer"] > 0


def test_where_it_comes_from_is_said(made: dict[str, Any]) -> None:
    assert made["machine"]["name"] and made["dtype"] == "float32" and made["taken"]
    assert made["attention"]


def test_no_prediction_is_touched(project: Project, cell: Cell, made: dict[str, Any]) -> None:
    assert not Files.of(project.results, cell).prediction.exists()


def test_the_command_takes_a_cells_beginning(project: Project, cell: Cell, capsys: Any) -> None:
    file = Files.of(project.results, cell).cell / BY_HAND
    shown = file.with_name("latency.json")
    shown.unlink(missing_ok=True)
    words = ["--repeats", "1", "--warmup", "0", "--batch-sizes", "1", "--new-tokens", "2"]
    assert main(["--root", str(project.root), "latency", cell.id()[:-4], *words]) == 0
    made = json.loads(file.read_text(encoding="utf-8"))
    assert [p["new_tokens"] for p in made["points"]] == [2] and not shown.exists()
    said = capsys.readouterr().out
    assert (unnamed(made["machine"]["name"]) in said) == (made["points"][0]["roofline"] is None)


def test_a_named_device_has_a_bound_and_no_excuse(project: Project, cell: Cell, capsys: Any) -> None:
    name, file = machine("cpu")["name"], project.root / "conf" / "hardware" / "cpu.yaml"
    words = ["--repeats", "1", "--warmup", "0", "--batch-sizes", "1", "--new-tokens", "1"]
    before = file.read_text(encoding="utf-8")
    file.write_text(re.sub("^devices: .*$", f"devices: [{name!r}]", before, flags=re.M), encoding="utf-8")
    try:
        assert main(["--root", str(project.root), "latency", cell.id()[:-4], *words]) == 0
    finally:
        file.write_text(before, encoding="utf-8")
    made = json.loads((Files.of(project.results, cell).cell / BY_HAND).read_text(encoding="utf-8"))
    assert made["points"][0]["roofline"]["prefill"] > 0
    assert "no conf/hardware file" not in capsys.readouterr().out


@pytest.mark.parametrize("bad", ["0", "1,x", ""])
def test_numbers_that_are_none_are_refused(bad: str, project: Project, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["--root", str(project.root), "latency", "tiny", "--batch-sizes", bad])
    assert f"{bad!r}: write whole numbers from 1 on" in capsys.readouterr().err
