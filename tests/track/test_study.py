from pathlib import Path

from report import synthetic

from .conftest import Tracked

FAILED, MISSING = ("topk_cls keep=36", "mini_pope"), ("blind", "mini_pope")
SMALL = {
    "none": ("none", 144, 1),
    "topk_cls keep=36": ("topk_cls", 36, 1),
    "random keep=36": ("random", 36, 2),
}


def studies(tracked: Tracked, flag: str) -> list:
    return tracked.runs(f"tags.kind = 'study' and tags.current = '{flag}'")


def test_a_study_tracks_its_cells_and_itself(tracked: Tracked) -> None:
    synthetic.write_study(tracked.root, columns=["mini_pope"], failed=[FAILED], missing=[MISSING])
    assert tracked.run("study") == 0
    cells = tracked.runs("tags.kind = 'cell'")
    assert sorted(run.info.status for run in cells) == ["FAILED", *["FINISHED"] * 6]
    (study,) = studies(tracked, "true")
    assert study.info.status == "FAILED"
    assert study.data.tags["progress"] == "6 of 8 cells (1 failed, 1 missing)"
    assert {name: study.data.metrics[name] for name in ("cells", "cells_done", "cells_failed", "cells_missing")} == {
        "cells": 8, "cells_done": 6, "cells_failed": 1, "cells_missing": 1,
    }  # fmt: skip
    files = tracked.artefacts(study, "report")
    assert files >= {f"report/{name}" for name in ("index.html", "table.md", "table.csv", "table.html")}
    assert "report/front_tokens.png" in files and "report/overlays" in files
    assert "| topk_cls keep=36 | failed |" in study.data.tags["mlflow.note.content"]


def test_a_page_that_is_there_is_tracked_as_it_is(tracked: Tracked, tmp_path: Path) -> None:
    synthetic.write_study(tracked.root, columns=["mini_pope"], rows=SMALL)
    page = tmp_path / "page"
    (page / "figures").mkdir(parents=True)
    for name in ("index.html", "figures/one.svg", "figures/.snakemake_timestamp"):
        (page / name).write_text("drawn before", encoding="utf-8")
    assert tracked.run("study", "--page", str(page)) == 0
    (study,) = studies(tracked, "true")
    assert tracked.artefacts(study, "report") == {"report/index.html", "report/figures"}
    assert tracked.artefacts(study, "report/figures") == {"report/figures/one.svg"}


def test_tracking_a_study_twice_adds_nothing(tracked: Tracked) -> None:
    synthetic.write_study(tracked.root, columns=["mini_pope"], rows=SMALL)
    tracked.run("study")
    before = {run.info.run_id: run.data.tags for run in tracked.runs()}
    tags = tracked.client.get_experiment_by_name("demo").tags
    tracked.run("study")
    assert {run.info.run_id: run.data.tags for run in tracked.runs()} == before
    assert tracked.client.get_experiment_by_name("demo").tags == tags


def test_one_rerun_changes_one_cell_and_the_study(tracked: Tracked) -> None:
    cells = synthetic.write_study(tracked.root, columns=["mini_pope"], rows=SMALL)
    tracked.run("study")
    before = {run.info.run_id for run in tracked.runs()}
    synthetic.write_cell(tracked.root, cells[-1], shift=0.05)
    tracked.run("study")
    new = [run for run in tracked.runs() if run.info.run_id not in before]
    assert sorted(run.data.tags["kind"] for run in new) == ["cell", "study"]
    assert all(run.data.tags["current"] == "true" for run in new)
    assert len(studies(tracked, "false")) == 1


def test_a_lost_store_is_rebuilt_from_the_results(tracked: Tracked) -> None:
    cells = synthetic.write_study(tracked.root, columns=["mini_pope"], rows=SMALL)
    for cell in cells:  # as if another store had been there
        synthetic.dump(tracked.root / "tracked" / "demo" / f"{cell['id']}.json", {"run_id": "gone"})
    tracked.run("study")
    assert len(tracked.runs("tags.kind = 'cell' and tags.current = 'true'")) == 4


def test_support_is_tracked_and_told_apart(tracked: Tracked) -> None:
    synthetic.write_study(tracked.root, columns=["mini_pope"], rows=SMALL, support=["none"])
    tracked.run("study")
    assert len(tracked.runs("tags.support = 'true'")) == 1
    (study,) = studies(tracked, "true")
    assert study.data.tags["progress"] == "3 of 3 cells" and study.info.status == "FINISHED"
