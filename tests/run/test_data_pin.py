"""A folder that is no benchmark is pinned in data.dvc beside the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from prunegrid.grid.data import outs
from prunegrid.run.data import dvc_md5
from prunegrid.run.main import main

TUNE = "data/tune/mix"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / TUNE / "images").mkdir(parents=True)
    (tmp_path / TUNE / "mix.json").write_text("[]", encoding="utf-8")
    first = {"path": "data/bench/pope", "md5": "a" * 32 + ".dir", "hash": "md5"}
    (tmp_path / "data.dvc").write_text("# how\n" + yaml.safe_dump({"outs": [first]}), encoding="utf-8")
    return tmp_path


def pinned(root: Path, *words: str) -> int:
    return main(["--root", str(root), "data", "pin", *words])


def test_it_is_an_out_of_its_own(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # again after a change: replaced, not doubled
        assert pinned(root, f"{TUNE}/", "--remote", "lab") == 0
    assert f"dvc push {TUNE}" in capsys.readouterr().out
    assert outs(root) == {"data/bench/pope": "a" * 32 + ".dir", TUNE: dvc_md5(root / TUNE)}
    text = (root / "data.dvc").read_text(encoding="utf-8")
    assert text.startswith("# how\n") and yaml.safe_load(text)["outs"][1]["remote"] == "lab"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("data/none", "no folder below"),
        (f"{TUNE}/mix.json", "no folder below"),
        ("../data", "no folder below"),
        ("/tmp", "no folder below"),
        ("data/bench", "overlap"),
        ("data/bench/pope/images", "overlap"),
    ],
)
def test_what_cannot_be_an_out_is_refused(
    path: str, said: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "data" / "bench" / "pope" / "images").mkdir(parents=True)
    before = (root / "data.dvc").read_bytes()
    assert pinned(root, path) == 2 and said in capsys.readouterr().err
    assert (root / "data.dvc").read_bytes() == before


def test_a_remote_that_dvc_does_not_know_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("", encoding="utf-8")
    assert pinned(root, TUNE) == 2 and "no remote 'bench'" in capsys.readouterr().err
