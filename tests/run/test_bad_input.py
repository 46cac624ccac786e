"""Data, weights and files that are not what they should be: refused by name before a model is loaded."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from grid.project import Project
from prunegrid.grid import fitting
from prunegrid.grid.cell import Cell
from prunegrid.run import weights
from prunegrid.run.data import dvc_md5
from prunegrid.run.files import Files
from prunegrid.run.main import main

from . import lab, made


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model would be compute: nothing here may come that far."""

    def load(*_: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(weights, "load", load)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command that must fail as a user's error; gives what it says."""

    def run(project: Project, *words: str) -> str:
        capsys.readouterr()
        assert main(["--root", str(project.root), *words]) == 2
        err = capsys.readouterr().err
        assert err.startswith("prunegrid: ") and err.count("prunegrid:") == 1 and "Traceback" not in err
        return err

    return run


def planned(project: Project, reducer: Any = "none") -> tuple[Cell, Path]:
    """A cell and its file, with today's data pinned."""
    project.pin({path: dvc_md5(project.root / path) for path in (lab.SCENES, lab.WEIGHTS)})
    cell = lab.cells(lab.study(project, reducer))[0]
    return cell, Files.of(project.results, cell).cell / "cell.yaml"


def damage(picture: Path, how: str) -> None:
    whole = picture.read_bytes()
    picture.unlink()
    if how == "cut":
        picture.write_bytes(whole[: len(whole) // 2])
    elif how == "flipped":
        picture.write_bytes(whole[:200] + bytes([whole[200] ^ 255]) + whole[201:])
    elif how == "no picture":
        picture.write_text("hello", encoding="utf-8")


@pytest.mark.parametrize("how", ["missing", "cut", "flipped", "no picture"])
def test_a_missing_or_corrupt_image_is_named_before_anything_runs(
    how: str, project: Project, refused: Any
) -> None:
    picture = project.root / lab.SCENES / "images" / "scene0003.png"
    damage(picture, how)
    cell, file = planned(project)
    said = refused(project, "predict", str(file))
    assert str(picture) in said and "scene0003-" in said
    assert ("no such file" if how == "missing" else "not readable as an image") in said
    failed = json.loads(
        (Files.of(project.results, cell).prediction / "failed.json").read_text(encoding="utf-8")
    )
    assert str(picture) in failed["reason"]


@pytest.mark.parametrize("change", ["edited", "added", "removed"])
def test_data_that_do_not_match_data_dvc(change: str, project: Project, refused: Any) -> None:
    _, file = planned(project)
    folder = project.root / lab.SCENES
    if change == "edited":
        text = (folder / "vqa.jsonl").read_text(encoding="utf-8")
        (folder / "vqa.jsonl").write_text(text.replace("What", "Wath"), encoding="utf-8")
    elif change == "added":
        (folder / "images" / "more.png").write_bytes(b"x")
    else:
        (folder / "images" / "scene0005.png").unlink()
    said = refused(project, "predict", str(file))
    assert f"{lab.SCENES} does not match data.dvc" in said
    assert f"dvc checkout --force {lab.SCENES}" in said and "dvc commit" in said


def test_a_change_after_the_check_is_still_seen(project: Project, refused: Any) -> None:
    """The stamp of the rule `data` spares the full look only while names, sizes and times are the same."""
    cell, file = planned(project)
    stamp = project.results / "data" / f"{lab.SCENES.replace('/', '_')}.json"
    words = ["data", "pull", lab.SCENES, "--md5", cell.data[lab.SCENES], "--stamp", str(stamp)]
    assert main(["--root", str(project.root), *words]) == 0
    picture = project.root / lab.SCENES / "images" / "scene0001.png"
    other = picture.with_name("scene0002.png")
    picture.write_bytes(other.read_bytes())
    assert "does not match data.dvc" in refused(project, "predict", str(file))
    stamp.unlink()
    assert "does not match data.dvc" in refused(project, *words)
    assert not stamp.exists()


def test_data_that_are_not_there_and_cannot_be_fetched(project: Project, refused: Any) -> None:
    cell, file = planned(project)
    (project.root / lab.SCENES).rename(project.root / "gone")
    said = refused(project, "predict", str(file))
    assert f"{lab.SCENES} is missing" in said and f"dvc pull {lab.SCENES}" in said
    stamp = project.results / "data" / "stamp.json"
    said = refused(project, "data", "pull", lab.SCENES, "--md5", cell.data[lab.SCENES], "--stamp", str(stamp))
    assert f"dvc pull {lab.SCENES}` failed" in said and "README" in said


def test_weights_in_a_format_that_can_run_code(project: Project, refused: Any) -> None:
    folder = project.root / lab.WEIGHTS / "llava"
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    _, file = planned(project)
    said = refused(project, "predict", str(file))
    assert str(folder) in said and "pytorch_model.bin" in said and "save_pretrained" in said


@pytest.mark.parametrize("text", ["", '{"vision_config": ', '{"vision_config": {"model_type": "resnet"}}'])
def test_a_broken_or_unknown_checkpoint(text: str, project: Project, refused: Any) -> None:
    config = project.root / lab.WEIGHTS / "llava" / "config.json"
    config.write_text(text, encoding="utf-8")
    _, file = planned(project)
    assert str(config) in refused(project, "predict", str(file))


def test_a_checkpoint_of_another_shape(project: Project, refused: Any) -> None:
    text = (project.root / "conf" / "model" / "tiny.yaml").read_text(encoding="utf-8")
    project.write("conf/model/tiny.yaml", text.replace("llm_layers: 4", "llm_layers: 12"))
    _, file = planned(project)
    said = refused(project, "predict", str(file))
    assert "conf/model/tiny.yaml" in said and "llm_layers=12 but the checkpoint has 4" in said


def test_an_option_that_only_the_method_can_judge_is_still_refused_by_the_job(
    project: Project, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that came after planning may be shaped otherwise than it was thought to be."""
    monkeypatch.setattr(
        fitting, "started", lambda _root, questions: nullcontext(lambda: [None] * len(questions))
    )
    for reducer, parts in (
        ({"prumerge": {"k": 0}}, ("conf/reducer/prumerge.yaml", "k=0", "at least 1")),
        ({"topk_cls": {"layer": -9}}, ("layer -9 does not exist", "0 to 3", "'topk_cls'", "'tiny'")),
    ):
        _, file = planned(project, reducer)
        said = refused(project, "predict", str(file))
        for part in parts:
            assert part in said


def test_a_budget_like_a_cell_that_was_not_predicted(project: Project, refused: Any) -> None:
    cell, file = planned(project, {"random": {"keep": {"like": "prumerge"}}})
    said = refused(project, "predict", str(file))
    assert (
        f"{cell.reducer['keep']['like']}/trace.jsonl is missing" in said and "predict that cell first" in said
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (None, "is missing"),
        ("", "holds no cell"),
        ("- 1", "holds no cell"),
        ("model: {name: tiny}", "is not whole"),
        ("model: [", "no plain yaml"),
        ('x: !!python/object/apply:os.mkdir ["owned"]', "no plain yaml"),
    ],
)
def test_a_cell_file_that_is_none(text: str | None, named: str, project: Project, refused: Any) -> None:
    _, file = planned(project)
    file.unlink()
    if text is not None:
        file.write_text(text, encoding="utf-8")
    for stage in ("predict", "score", "cost", "compare"):
        said = refused(project, stage, str(file))
        assert named in said and "plan" in said
    assert not Path("owned").exists()


def test_an_edited_cell_file(project: Project, refused: Any) -> None:
    cell, file = planned(project)
    file.write_text(file.read_text(encoding="utf-8").replace("seed: 0", "seed: 1"), encoding="utf-8")
    said = refused(project, "predict", str(file))
    assert f"cell {cell.id()} was edited by hand" in said


def test_a_prediction_cut_in_the_middle(project: Project, refused: Any) -> None:
    cell, file = planned(project)
    files = made.finish(project, cell, made.right)
    text = files.records.read_text(encoding="utf-8")
    files.records.write_text(text[: len(text) // 2], encoding="utf-8")
    said = refused(project, "score", str(file))
    assert f"{files.records} line 4 is cut" in said and f"prunegrid rerun {cell.id()}" in said
    assert not (files.cell / "score.json").exists()
