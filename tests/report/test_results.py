import os
from pathlib import Path

import pytest

from prunegrid.report.cell import ResultError, is_mini, read_lines
from prunegrid.report.results import load_study

from . import synthetic

NONE = ("none", "mini_pope")


def test_states_are_told_apart(root: Path) -> None:
    synthetic.write_study(root, failed=[("topk_cls keep=36", "mini_vqa")], missing=[("blind", "mini_pope")])
    study = load_study(root, "demo")
    states = {(cell.row, cell.column): cell.state for cell in study.cells}
    assert states["topk_cls keep=36", "mini_vqa"] == "failed"
    assert states["blind", "mini_pope"] == "missing"
    assert states["none", "mini_pope"] == "done"
    assert study.progress == "14 of 16 cells (1 failed, 1 missing)"


def test_a_rerun_that_fails_hides_the_old_score(root: Path) -> None:
    cell = synthetic.write_study(root, columns=["mini_pope"])[0]
    synthetic.write_failure(root, cell)
    failed = root / "predictions" / cell["prediction"] / "failed.json"
    score = root / "cells" / cell["id"] / "score.json"
    os.utime(score, ns=(1, 10**9))
    os.utime(failed, ns=(1, 2 * 10**9))
    assert load_study(root, "demo").cells[0].state == "failed"
    os.utime(score, ns=(1, 3 * 10**9))  # it ran again and went well
    assert load_study(root, "demo").cells[0].state == "done"


def test_a_failure_in_scoring_counts_too(root: Path) -> None:
    cell = synthetic.write_study(root, columns=["mini_pope"], missing=[NONE])[0]
    synthetic.dump(root / "cells" / cell["id"] / "failed.json", {"stage": "score", "reason": "bad row"})
    found = load_study(root, "demo").cells[0]
    assert found.state == "failed" and found.failure == {"stage": "score", "reason": "bad row"}


def test_a_cut_file_is_named(root: Path) -> None:
    cell = synthetic.write_study(root, columns=["mini_pope"])[0]
    score = root / "cells" / cell["id"] / "score.json"
    score.write_text(score.read_text()[:40])
    with pytest.raises(ResultError, match=r"score\.json: cannot be read"):
        _ = load_study(root, "demo").cells[0].score


def test_a_cut_line_is_numbered(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_text('{"id": 1}\n{"id"')
    with pytest.raises(ResultError, match=r"records\.jsonl line 2"):
        list(read_lines(file))


def test_an_unknown_study_lists_the_known_ones(root: Path) -> None:
    synthetic.write_study(root, "smoke", columns=["mini_pope"])
    with pytest.raises(ResultError, match="planned: smoke"):
        load_study(root, "demo")


@pytest.mark.parametrize("name", ["../demo", "a/b", "", ".."])
def test_a_study_name_cannot_leave_its_folder(root: Path, name: str) -> None:
    with pytest.raises(ResultError, match="must be a plain name"):
        load_study(root, name)


def test_mini_and_its_variants() -> None:
    assert [is_mini(m) for m in ("mini", "mini_wide", "mini-2", "minigpt4", "llava15_7b")] == [
        True, True, True, False, False,
    ]  # fmt: skip
