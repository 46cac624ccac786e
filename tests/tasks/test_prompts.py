"""The exact prompts of every conf/task file. `pytest tests/tasks --update-snapshots` writes them anew."""

import importlib
import json
import shutil
from pathlib import Path

import pytest
import yaml

from prunegrid.tasks import Task

HERE = Path(__file__).parent
CONF = HERE.parents[1] / "conf" / "task"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))


def load(name: str) -> tuple[dict, Task]:
    config = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    module, _, cls = config["_target_"].rpartition(".")
    return config, getattr(importlib.import_module(module), cls).from_config(config)


def test_there_are_tasks() -> None:
    assert {"mini_pope", "mini_caption", "pope", "textvqa", "textvqa_noocr", "seed", "mmbench_cn"} <= set(
        NAMES
    )
    assert {"llava_wild", "mmvet", "msvd_qa", "msrvtt_qa", "activitynet_qa"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_those_of_the_snapshot(name: str, tmp_path: Path, update_snapshots: bool) -> None:
    _, task = load(name)
    own = HERE / "rows" / f"{name}.jsonl"
    shared = HERE / "rows" / f"{type(task).__module__.rpartition('.')[2]}.jsonl"
    rows = own if own.exists() else shared
    assert rows.exists(), f"a new format needs a few rows of its own in {shared}"
    shutil.copy(rows, tmp_path / task.file)
    prompts = [sample.prompt for sample in task.samples(tmp_path)]

    snapshot = HERE / "snapshots" / f"{name}.json"
    if update_snapshots:
        snapshot.write_text(json.dumps(prompts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert snapshot.exists(), f"no snapshot of {name}: run pytest tests/tasks --update-snapshots and read it"
    assert prompts == json.loads(snapshot.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_config_is_complete(name: str) -> None:
    config, task = load(name)
    assert config["name"] == name
    assert {"data", "file", "prompt", "max_new_tokens"} <= set(config)
    assert task.version and task.primary and task.scale > 0 and task.unit in ("%", "points")
    uncommented = [line for line in (CONF / f"{name}.yaml").open(encoding="utf-8") if "#" not in line]
    assert uncommented == []


def test_nobody_reads_a_snapshot_without_task() -> None:
    assert {path.stem for path in (HERE / "snapshots").glob("*.json")} == set(NAMES)
