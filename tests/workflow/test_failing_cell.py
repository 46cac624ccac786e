"""One cell that fails in the middle: the others finish, the end of the run says what, why and how to repeat it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .project import clone, prunegrid, snakemake

pytestmark = pytest.mark.workflow

METHOD = """
from dataclasses import dataclass
from prunegrid.reduce import Place, Reducer, Reduction, Site

@dataclass(frozen=True)
class Fragile(Reducer):
    def sites(self, shape):
        return (Site(Place.FEATURES),)

    def reduce(self, site, view, state):
        raise RuntimeError("the bridge broke at sample " + view.ids[0])
"""
STUDY = """
title: A method that breaks
blocks:
  - {model: mini, task: [mini_pope], reducer: [none, fragile]}
limit: 6
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own package with a method that raises, and a study that asks for it."""
    folder = clone(tmp_path_factory.mktemp("project") / "copy")
    (folder / "theirs.py").write_text(METHOD, encoding="utf-8")
    (folder / "conf" / "reducer" / "fragile.yaml").write_text(
        "# A method of the user's own.\nname: fragile\n_target_: theirs.Fragile\n", encoding="utf-8"
    )
    (folder / "conf" / "study" / "breaks.yaml").write_text(STUDY, encoding="utf-8")
    return folder


def test_the_end_of_a_run_names_what_failed(broken: Path) -> None:
    own = {"PRUNEGRID_PACKAGES": "theirs"}
    run = snakemake(broken, "--keep-going", "--config", "study=breaks", **own)
    said = run.stdout + run.stderr
    assert run.returncode != 0
    ended = said[said.index("FAILED mini-fragile") :]
    assert "the bridge broke at sample" in ended
    log = re.search(r"log: +(\S+)", ended)
    assert log and "RuntimeError" in (broken / log[1]).read_text(encoding="utf-8")
    again = re.search(r"again: +prunegrid (rerun \S+)", ended)
    assert again, ended
    rows = json.loads(prunegrid(broken, "ls", "breaks", "--json", **own).stdout)
    assert {r["row"].split()[0]: r["state"] for r in rows} == {
        "none": "done",
        "fragile": "failed",
        "blind": "done",
    }
    failed = next(r["id"] for r in rows if r["state"] == "failed")
    assert not (broken / "results" / "cells" / failed / "score.json").exists()
    assert "1 of 2 cells done" in ended
    whole = next(r["id"] for r in rows if r["row"] == "none")
    mark = broken / "results" / "tracked" / "breaks" / f"{whole}.json"
    assert mark.exists(), "a cell is tracked beside one that failed"
