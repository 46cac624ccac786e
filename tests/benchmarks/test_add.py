"""Every benchmark from both kinds of files into one canonical form, counted, read back by its task, pinned."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from PIL import Image

from grid.project import ROOT, Project
from prunegrid.benchmarks import parquet
from prunegrid.benchmarks.tree import Tree
from prunegrid.run import data_add
from prunegrid.run.data import dvc_md5
from prunegrid.run.files import ResultError
from prunegrid.run.main import main
from prunegrid.tasks import TaskError

from . import hub, official

VIDEO = {"msvd_qa", "msrvtt_qa", "activitynet_qa"}  # their input is not read yet
ROWS = {"mme": 4}  # of the fixtures; 3 elsewhere
DATA = [yaml.safe_load(f.read_text(encoding="utf-8"))["data"] for f in (ROOT / "conf/task").glob("*.yaml")]
NAMES = sorted({Path(d).name for d in DATA if d.startswith("data/bench/")} - VIDEO)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Where every benchmark has the fixtures' number of rows."""
    for name in NAMES:
        module = data_add._benchmark(f"data/bench/{name}")
        monkeypatch.setattr(module, "COUNTS", {ROWS.get(name, 3): "made for tests"})
    return Project.at(tmp_path / "project")


def add(project: Project, task: str, kind: ModuleType, given: Path, *more: str) -> int:
    getattr(kind, task)(given)
    return main(["--root", str(project.root), "data", "add", task, "--from", str(given), *more])


def rows(project: Project, task: str) -> list[dict[str, Any]]:
    option = yaml.safe_load((project.root / f"conf/task/{task}.yaml").read_text(encoding="utf-8"))
    text = (project.root / option["data"] / option["file"]).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_every_benchmark_with_data_of_its_own_can_be_added() -> None:
    assert len(NAMES) == 12
    assert all(hasattr(official, name) and hasattr(hub, name) for name in NAMES)


@pytest.mark.parametrize("kind", [official, hub], ids=["official", "hub"])
@pytest.mark.parametrize("task", NAMES)
def test_a_benchmark_becomes_what_its_task_reads(
    task: str, kind: ModuleType, project: Project, tmp_path: Path
) -> None:
    assert add(project, task, kind, tmp_path / "given") == 0
    made, folder = rows(project, task), project.root / "data/bench" / task
    assert len(made) == ROWS.get(task, 3)
    assert all((folder / row["image"]).is_file() for row in made)
    outs = {out["path"]: out for out in yaml.safe_load((project.root / "data.dvc").read_text())["outs"]}
    assert outs[f"data/bench/{task}"]["md5"] == dvc_md5(folder)
    assert outs[f"data/bench/{task}"]["remote"] == "bench"
    assert set(outs) > {"data/mini/scenes", "data/mini/weights"}
    assert project.cell(task=task).data[f"data/bench/{task}"] == dvc_md5(folder)


@pytest.mark.parametrize("task", NAMES)
def test_both_sources_give_the_same_questions(task: str, project: Project, tmp_path: Path) -> None:
    """But for what only one of them knows: ids of ScienceQA, the kinds of SEED, names of pictures."""
    found = []
    for kind in (official, hub):
        assert add(project, task, kind, tmp_path / kind.__name__, "--again") == 0
        found.append(
            [
                {k: v for k, v in row.items() if k not in ("image", "type" if task == "seed" else "")}
                for row in rows(project, task)
            ]
        )
    drop = {"sqa_img": ("id",), "mmvet": ("cluster",), "llava_wild": ("cluster",)}.get(task, ())
    a, b = ([{k: v for k, v in row.items() if k not in drop} for row in part] for part in found)
    assert a == b


def test_pictures_are_the_published_bytes_and_each_stands_once(project: Project, tmp_path: Path) -> None:
    add(project, "vqav2", official, tmp_path / "given")
    (file,) = (project.root / "data/bench/vqav2/images").iterdir()
    assert file.name == "COCO_val2014_000000000042.jpg"
    assert file.read_bytes() == official.picture(1)


def test_the_middle_frame_stands_for_a_video(project: Project, tmp_path: Path) -> None:
    add(project, "seed", hub, tmp_path / "given")
    row = next(row for row in rows(project, "seed") if row["data_type"] == "video")
    with Image.open(project.root / "data/bench/seed" / row["image"]) as frame:
        assert frame.getpixel((0, 0)) == Image.open(__import__("io").BytesIO(official.picture(2))).getpixel(
            (0, 0)
        )


def test_ocr_words_of_llavas_own_file_give_the_same_prompt(project: Project, tmp_path: Path) -> None:
    add(project, "textvqa", official, tmp_path / "given")
    before = [p.prompt for p in _samples(project, "textvqa")]
    (tmp_path / "given/TextVQA_Rosetta_OCR_v0.2_val.json").unlink()
    text = (
        "what brand?\nReference OCR token: STOP, all, way\nAnswer the question using a single word or phrase."
    )
    official.put(tmp_path / "given", "llava_textvqa_val_v051_ocr.jsonl",
                 [{"question_id": f"i{n}", "image": f"i{n}.jpg", "text": text} for n in range(3)])  # fmt: skip
    assert (
        main(
            [
                "--root",
                str(project.root),
                "data",
                "add",
                "textvqa",
                "--from",
                str(tmp_path / "given"),
                "--again",
            ]
        )
        == 0
    )
    assert [p.prompt for p in _samples(project, "textvqa")] == before
    assert "Reference OCR token: STOP, all, way\n" in before[0]


def _samples(project: Project, task: str) -> list[Any]:
    from prunegrid.run import build

    cell = project.cell(task=task)
    return list(build.task(cell).samples(project.root / cell.task["data"]))


def test_a_killed_conversion_goes_on_without_reading_pictures_again(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(project, "gqa", official, tmp_path / "given")
    folder = project.root / "data/bench/gqa"
    first = (folder / "gqa.jsonl").read_bytes()
    (folder / "gqa.jsonl").unlink()
    (folder / "images/n2.jpg").rename(folder / "images/n2.tmp")  # the kill came here
    from prunegrid.benchmarks import canonical

    stored: list[str] = []
    real = canonical._store
    monkeypatch.setattr(canonical, "_store", lambda item, out: (stored.append(item.name), real(item, out))[1])
    assert add(project, "gqa", official, tmp_path / "given") == 0
    assert stored == ["n2"]
    assert (folder / "gqa.jsonl").read_bytes() == first
    assert not list((folder / "images").glob("*.tmp"))


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda f: (f / "val2014.zip").unlink(), "no picture COCO_val2014_000000000042.jpg"),
        (lambda f: (f / "val2014.zip").write_bytes(b"PK\x03\x04cut"), "no whole zip archive"),
        (lambda f: (f / "coco/coco_pope_popular.json").unlink(), "no file like coco_pope_popular.json"),
        (
            lambda f: (f / "coco/coco_pope_random.json").write_text('{"question_id": 1, "ima'),
            "cut, or no JSON",
        ),
        (
            lambda f: (f / "coco/coco_pope_random.json").write_text(""),
            "2 rows, and no edition has so many: 3",
        ),
        (lambda f: official.archive(f, "val2014.zip", {"COCO_val2014_000000000042.jpg": b"GIF?"}), "is none"),
        (shutil.rmtree, "no such file or folder"),
    ],
)
def test_what_is_not_whole_is_named_and_not_pinned(
    spoil: Any, complaint: str, project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official.pope(tmp_path / "given")
    spoil(tmp_path / "given")
    assert main(["--root", str(project.root), "data", "add", "pope", "--from", str(tmp_path / "given")]) == 2
    assert complaint in capsys.readouterr().err
    assert "pope" not in (project.root / "data.dvc").read_text(encoding="utf-8")


def test_columns_are_checked_before_the_first_row(tmp_path: Path) -> None:
    hub.save(tmp_path, "data/test-0.parquet", [{"question": 3, "image": hub.image(1)}])
    columns = {"question": "text", "image": "picture", "answer": "text"}
    with pytest.raises(TaskError, match=r"question is int64, not text; answer is missing, not text"):
        next(parquet.rows(Tree(tmp_path), "test-*.parquet", columns))


def test_either_organisation_serves_and_the_commit_is_noted(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def commit(names: list[str], revision: str | None, *_: Any) -> tuple[str, str]:
        asked.append(tuple(names))
        return names[1], revision or "c" * 40

    def fetch(repository: str, revision: str, folder: Path, *_: Any) -> None:
        hub.pope(folder)

    monkeypatch.setattr(data_add, "commit", commit)
    monkeypatch.setattr(data_add, "fetch", fetch)
    assert main(["--root", str(project.root), "data", "add", "pope"]) == 0
    assert asked == [("lmms-lab/POPE", "lmms-lab-encoder/POPE")]
    source = json.loads((project.root / "data/bench/pope/source.json").read_text(encoding="utf-8"))
    assert source == {
        "repository": "lmms-lab-encoder/POPE",
        "revision": "c" * 40,
        "rows": 3,
        "edition": "made for tests",
    }
    assert not (project.root / "data/bench/.fetch/pope").exists()


def test_without_network_the_way_out_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    nowhere = huggingface_hub.HfApi(endpoint="http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: nowhere)
    with pytest.raises(ResultError, match=r"ConnectError.*prunegrid data add pope --from PATH"):
        data_add.add(data_add.Request(project.root, "pope"))


@pytest.mark.parametrize(
    ("task", "complaint"), [("mini_pope", "unknown benchmark"), ("popo", "Did you mean 'pope'")]
)
def test_what_cannot_be_added(
    task: str, complaint: str, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(project.root), "data", "add", task]) == 2
    assert complaint in capsys.readouterr().err


def test_dvc_holds_what_was_added_beside_outs_that_are_not_here(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With DVC itself: the pin is its own md5, and the files come back from its cache."""
    import subprocess
    import sys

    def dvc(*words: str) -> int:
        return subprocess.run([sys.executable, "-m", "dvc", *words], cwd=project.root, check=False).returncode

    assert dvc("init", "--no-scm", "--quiet") == 0
    assert add(project, "pope", official, tmp_path / "given") == 2
    assert "dvc remote add bench" in capsys.readouterr().err
    assert dvc("remote", "add", "bench", str(tmp_path / "store"), "--quiet") == 0
    assert add(project, "pope", official, tmp_path / "given") == 0
    first = dvc_md5(project.root / "data/bench/pope")
    shutil.rmtree(project.root / "data/bench/pope")
    assert dvc("checkout", "--quiet", "data/bench/pope") == 0
    assert dvc_md5(project.root / "data/bench/pope") == first
    assert not list(project.root.glob("pin_*.dvc"))
