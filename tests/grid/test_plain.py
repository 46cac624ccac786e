"""Files that are no plain yaml, and settings that are none: an error in words, with file and line or key."""

from __future__ import annotations

from typing import Any

import pytest

from prunegrid.grid import settings
from prunegrid.grid.errors import GridError

from .project import ROOT, Project

BLOCK = {"task": "mini_vqa", "reducer": "random"}
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("conf/study/mine.yaml", "title: x\nblocks: [\n", "conf/study/mine.yaml, line 3"),
        ("conf/study/mine.yaml", "title: a: b\n", "conf/study/mine.yaml, line 1, column 9"),
        ("conf/reducer/random.yaml", "name: random\n  keep: 3\n", "conf/reducer/random.yaml, line 2"),
        ("conf/reducer/random.yaml", "- name\n", "conf/reducer/random.yaml must hold a mapping"),
        ("conf/model/mini.yaml", "name: 'mini\n", "conf/model/mini.yaml, line 2"),
        ("conf/accepted.yaml", "a: [", "conf/accepted.yaml, line 1"),
        ("conf/models.lock.yaml", "mini: {", "conf/models.lock.yaml, line 1"),
        ("data.dvc", "outs: [", "data.dvc, line 1"),
    ],
)
def test_broken_yaml_names_file_and_line(file: str, text: str, said: str, project: Project) -> None:
    project.study("mine", BLOCK)
    if file.startswith("conf/models"):  # read for models that are fetched
        project.study("mine", {**BLOCK, "model": "llava15_7b"})
    project.write(file, text)
    with pytest.raises(GridError) as caught:
        project.plan()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_misspelt_option_of_a_model_names_the_nearest(project: Project) -> None:
    file = project.root / "conf" / "model" / "mini.yaml"
    project.write("conf/model/mini.yaml", file.read_text(encoding="utf-8").replace("side:", "sidde:"))
    with pytest.raises(GridError, match=r"conf/model/mini.yaml: unknown option 'sidde'.*'side'"):
        project.plan(BLOCK)


def test_a_value_of_the_wrong_type_names_file_key_and_value(project: Project) -> None:
    file = project.root / "conf" / "model" / "mini.yaml"
    text = "\n".join(
        "side: many" if line.startswith("side:") else line
        for line in file.read_text(encoding="utf-8").splitlines()
    )
    project.write("conf/model/mini.yaml", text)
    with pytest.raises(GridError) as caught:
        project.plan(BLOCK)
    said = str(caught.value)
    assert said.startswith("conf/model/mini.yaml: ")
    for part in ("many", "Integer", "side"):
        assert part in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"stduy": "x"}, r"unknown key 'stduy'. Did you mean 'study'"),
        ({"limit": "abc"}, "limit=abc: limit must be a whole number of questions, at least 1"),
        ({"limit": 0}, "limit=0: limit must be .* at least 1"),
        ({"limit": True}, "limit=True"),
        ({"study": "My Study"}, "study=My Study: study must be the name of a file of conf/study"),
        ({"study": 7}, "study=7"),
        ({"device": "gpu"}, "device=gpu: device must be auto, cpu, cuda or cuda:N"),
        ({"judge": "there"}, "judge=there: judge must be here or job"),
        ({"mlflow": "nowhere"}, "mlflow=nowhere: mlflow must be a tracking store, such as"),
        ({"shards": {"vqav2": 0}}, "shards must be jobs per task, such as {vqav2: 16}"),
        ({"shards": 3}, "shards must be jobs per task"),
    ],
)
def test_a_wrong_setting_says_what_is_allowed(config: dict[str, Any], said: str) -> None:
    with pytest.raises(GridError, match=said):
        settings.check(config, SCHEMA)


def test_right_settings_pass() -> None:
    given: dict[str, Any] = {"study": "demo", "model": None, "limit": 8, "device": "cuda:1", "judge": "job"}
    settings.check({**given, "mlflow": "sqlite:///x.db", "shards": {"vqav2": "16"}}, SCHEMA)
