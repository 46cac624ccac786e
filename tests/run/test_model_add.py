"""`prunegrid model add`: files given or fetched, converted where they must be, pinned, and fetched again as pinned."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import CLIPModel, LlavaForConditionalGeneration

from checkpoints import layouts
from grid.project import Project
from prunegrid.grid.errors import GridError
from prunegrid.run import model_add, weights
from prunegrid.run.errors import BuildError
from prunegrid.run.files import ResultError
from prunegrid.run.main import main

SHAPE = {"tokens": 9, "side": 3, "vision_layers": 3, "llm_layers": 2}
STAGE1 = {"llava": "lab/stage1", "base": "lab/vicuna", "clip": "lab/clip"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """With the model `small`: a stage-1 projector beside Vicuna; `hub/` holds the repositories."""
    project = Project.at(tmp_path / "project")
    option = yaml.safe_load((project.root / "conf/model/llava15_7b.yaml").read_text(encoding="utf-8"))
    paths = {"path": "data/models/small/llava", "clip": "data/models/small/clip"}
    more = {"name": "small", "source": STAGE1, "device": "cpu", "dtype": "float32", "config": {}}
    project.write("conf/model/small.yaml", {**option, **paths, **more, **SHAPE})
    made, hub = layouts.model(), tmp_path / "hub"
    layouts.save_base(layouts.language(made), hub / "base")
    layouts.save_clip(made, hub / "clip")
    (hub / "llava").mkdir()
    torch.save(layouts.projector(made, "model."), hub / "llava" / "mm_projector.bin")
    return project


@pytest.fixture
def hub(project: Project, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A hub that serves the repositories above; gives what was fetched."""
    fetched: list[str] = []

    def commit(names: Sequence[str], revision: str | None, *_: Any) -> tuple[str, str]:
        return names[0], revision or "c" * 40

    def fetch(repository: str, revision: str, folder: Path, *_: Any) -> None:
        role = next(role for role, name in STAGE1.items() if name == repository)
        fetched.append(f"{repository}@{revision[:2]}")
        shutil.copytree(project.root.parent / "hub" / role, folder, dirs_exist_ok=True)

    monkeypatch.setattr(model_add, "commit", commit)
    monkeypatch.setattr(model_add, "fetch", fetch)
    return fetched


def add(project: Project, *more: str) -> int:
    return main(["--root", str(project.root), "model", "add", "small", *more])


def lock(project: Project) -> Any:
    return yaml.safe_load((project.root / "conf/models.lock.yaml").read_text(encoding="utf-8"))["small"]


def test_a_fetched_model_is_converted_pinned_and_loads(project: Project, hub: list[str]) -> None:
    before = project.cell(model="small")
    with pytest.raises(BuildError, match="prunegrid model add small"):
        weights.load(before, project.root, "cpu")
    assert add(project, "--stamp", str(project.root / "stamp.json")) == 0
    assert sorted(hub) == ["lab/clip@cc", "lab/stage1@cc", "lab/vicuna@cc"]
    pin = lock(project)
    assert pin["sources"]["base"] == {"repository": "lab/vicuna", "revision": "c" * 40}
    assert json.loads((project.root / "stamp.json").read_text()) == {"revision": pin["revision"]}
    after = project.cell(model="small")
    assert after.model["revision"] == pin["revision"]
    assert after.prediction_id() != before.prediction_id()
    made, _ = weights.load(after, project.root, "cpu")
    torch.testing.assert_close(layouts.logits(made), layouts.logits(layouts.model()), rtol=1e-5, atol=1e-5)
    clip = CLIPModel.from_pretrained(project.root / after.model["clip"], use_safetensors=True)
    tower, own = made.model.vision_tower.state_dict(), clip.vision_model.state_dict()
    assert all(torch.equal(tower[k], own[k]) for k in own)
    assert not (project.root / "data/models/small/.fetch").exists()


def test_a_second_add_fetches_nothing_and_a_fresh_clone_gets_the_same(
    project: Project, hub: list[str]
) -> None:
    add(project)
    first = lock(project)
    hub.clear()
    assert add(project) == 0
    assert hub == []
    shutil.rmtree(project.root / "data/models")
    assert add(project, "--pinned") == 0
    assert len(hub) == 3
    assert lock(project) == first


def test_other_files_under_the_same_pin_are_refused_and_again_takes_them(
    project: Project, hub: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    add(project)
    first = lock(project)
    shutil.rmtree(project.root / "data/models")
    torch.save(layouts.projector(layouts.model(9), ""), project.root.parent / "hub/llava/mm_projector.bin")
    assert add(project) == 2
    assert "is not what conf/models.lock.yaml pins" in capsys.readouterr().err
    assert lock(project) == first
    assert add(project, "--again") == 0
    assert lock(project)["revision"] != first["revision"]


def test_a_converted_folder_is_taken_as_it_is_from_a_path(project: Project, tmp_path: Path) -> None:
    given = tmp_path / "given"
    layouts.model().save_pretrained(given / "llava")
    layouts.save_tokenizer(given / "llava")
    for role in ("base", "clip"):
        shutil.copytree(tmp_path / "hub" / role, given / role)
    assert add(project, "--from", str(given)) == 0
    assert lock(project)["revision"].startswith("content-")
    made = LlavaForConditionalGeneration.from_pretrained(project.root / "data/models/small/llava").eval()
    torch.testing.assert_close(layouts.logits(made), layouts.logits(layouts.model()))
    assert (given / "llava" / "model.safetensors").exists()


def test_a_cut_file_is_found_before_a_model_is_loaded(project: Project, hub: list[str]) -> None:
    add(project)
    file = project.root / "data/models/small/llava/model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BuildError, match=r"model.safetensors has \d+ bytes"):
        weights.folder(project.cell(model="small"), project.root)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["small", "--pinned"], "has no pin in conf/models.lock.yaml"),
        (["small", "--from", "nowhere"], "no such folder"),
        (["mini"], "has no source to add"),
        (["smal"], "Did you mean 'small'"),
    ],
)
def test_what_cannot_be_added(
    words: list[str], complaint: str, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(project.root), "model", "add", *words]) == 2
    assert complaint in capsys.readouterr().err


def test_without_network_the_way_out_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port where nobody listens."""
    import huggingface_hub

    nowhere = huggingface_hub.HfApi(endpoint="http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: nowhere)
    with pytest.raises(
        ResultError, match=r"(ConnectError|OfflineModeIsEnabled).*node with network.*--from PATH"
    ):
        model_add.add(model_add.Request(project.root, "small"))


def test_a_revision_that_the_lock_does_not_pin_is_refused(project: Project, hub: list[str]) -> None:
    add(project)
    option = yaml.safe_load((project.root / "conf/model/small.yaml").read_text(encoding="utf-8"))
    project.write("conf/model/small.yaml", {**option, "revision": "d" * 40})
    fresh = Project(project.root, type(project.options).of(project.root / "conf"))
    with pytest.raises(GridError, match="--again"):
        fresh.cell(model="small")
