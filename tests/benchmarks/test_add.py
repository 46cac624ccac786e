"""Every benchmark from both kinds of files into one canonical form, counted, read back by its task, pinned."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from PIL import Image

from grid.project import Project
from prunegrid.benchmarks import parquet
from prunegrid.benchmarks.tree import Tree
from prunegrid.run.data import dvc_md5
from prunegrid.run.main import main
from prunegrid.tasks import TaskError

from . import hub, official
from .conftest import NAMES, ROWS, add, rows


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
