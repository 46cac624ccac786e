"""The examples of CONTRIBUTING.md, taken from the page: they plan, and the method does what its reference does."""

from __future__ import annotations

import dataclasses
import importlib
import io
import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

import test_contract as contract
from grid.conftest import started_here
from prunegrid.benchmarks.canonical import write
from prunegrid.benchmarks.tree import Tree
from prunegrid.grid import fitting
from prunegrid.grid.options import Options
from prunegrid.grid.plan import draft, make
from prunegrid.grid.scale import rescale
from prunegrid.run.build import method
from prunegrid.run.data_add import pin
from prunegrid.run.estimate import estimate
from prunegrid.shape import llava15_7b
from prunegrid.tasks import TaskError
from reduce import lab
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from test_flops import multiplied

ROOT = Path(__file__).parents[1]
FILES = re.findall(
    r"^`([\w./]+)`\n```\w+\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.M | re.S
)
EXAMPLES: Mapping[str, str] = dict(FILES)
PACKAGE = "examples_of_this_page"  # stands for prunegrid.*: nothing is written into the project's own sources
MODULES = {
    path: path.removeprefix("src/").removesuffix(".py").replace("/", ".")
    for path in EXAMPLES
    if path.endswith(".py")
}


def moved(text: str) -> str:
    """Its modules are those of PACKAGE."""
    for module in MODULES.values():
        text = text.replace(f"{module}.", f"{flat(module)}.")
    return text


def flat(module: str) -> str:
    return f"{PACKAGE}.{module.replace('.', '_')}"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project folder with the examples in it."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "data.dvc", tmp_path)
    (tmp_path / PACKAGE).mkdir()
    (tmp_path / PACKAGE / "__init__.py").touch()
    for path, text in EXAMPLES.items():
        own = f"{flat(MODULES[path]).replace('.', '/')}.py" if path in MODULES else path
        (tmp_path / own).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / own).write_text(moved(text), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PRUNEGRID_PACKAGES", PACKAGE)
    monkeypatch.setattr(fitting, "started", started_here)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]


def module(path: str) -> Any:
    return importlib.import_module(flat(MODULES[path]))


# ---- method ------------------------------------------------------------------------------------------------------
def longest(project: Path, model: Mapping[str, int]) -> Any:
    option = Options.of(project / "conf").get("reducer", "longest", "here")
    return method({k: rescale(v, model, k) for k, v in option.items()})


def test_the_page_has_an_example_of_each_kind() -> None:
    kinds = ("reduce/methods/", "conf/reducer/", "tests/reference/", "prunegrid/tasks/", "conf/task/",
             "prunegrid/benchmarks/", "conf/study/", "conf/model/", "workflow/profiles/")  # fmt: skip
    assert len(EXAMPLES) == len(FILES)
    assert all(any(kind in path for path in EXAMPLES) for kind in kinds)
    assert not [path for path in EXAMPLES if (ROOT / path).exists()], (
        "an example is not in the project already"
    )


def test_the_methods_option_lists_its_parameters_and_its_source(project: Path) -> None:
    built = longest(project, contract.model_of(llava15_7b()))
    stated = set(Options.of(project / "conf").get("reducer", "longest", "here")) - {"name", "_target_"}
    assert stated == {f.name for f in dataclasses.fields(built)}
    assert contract.SOURCED.search(EXAMPLES["conf/reducer/longest.yaml"].splitlines()[0])


@torch.no_grad()
def test_the_method_keeps_what_its_reference_keeps_alone_and_in_a_padded_batch(project: Path) -> None:
    model = lab.tiny(layers=contract.DEPTH)
    reducer = dataclasses.replace(longest(project, contract.model_of(contract.tiny_shape())), keep=5)
    inputs, ids = lab.batch((2, 6, 4), before=(3, 1, 2)), ["a", "b", "c"]
    whole = lab.answer(model, reducer, inputs, ids=ids)
    view = lab.look(model, inputs, reducer.sites(contract.tiny_shape())[0])
    slow = module("tests/reference/longest.py").longest
    for b, key in enumerate(ids):
        alone = lab.answer(model, reducer, lab.one(inputs, b), ids=[key])
        assert alone.trace.sample(0) == whole.trace.sample(b)
        lab.close(alone.logits[0], whole.logits[b])
        reduction = reducer.reduce(reducer.sites(contract.tiny_shape())[0], view, None)
        assert reduction.keep[b].tolist() == slow(view.tokens[b].tolist(), 5)


@torch.no_grad()
def test_the_method_states_its_own_arithmetic(project: Path) -> None:
    reducer = longest(project, contract.model_of(contract.tiny_shape()))
    found, said = multiplied(lab.tiny(layers=contract.DEPTH), reducer, new=1)
    assert found == said.products
    assert said.pointwise == 2 * lab.PATCHES * 32


# ---- benchmark ---------------------------------------------------------------------------------------------------
def given(folder: Path, questions: int = 2) -> Tree:
    """The files that the example reads: a picture and its questions."""
    folder.mkdir()
    drawn = io.BytesIO()
    Image.new("RGB", (8, 8)).save(drawn, "PNG")
    (folder / "shelf.png").write_bytes(drawn.getvalue())
    row = {"image": "shelf.png", "question": "How many bottles are there?", "count": 12}
    (folder / "questions.jsonl").write_text(f"{json.dumps(row)}\n" * questions, encoding="utf-8")
    return Tree(folder)


def added(project: Path) -> Any:
    """What `prunegrid data add` does once the files are here, and the task that reads the result."""
    reader, option = (
        module("src/prunegrid/benchmarks/counting.py"),
        yaml.safe_load((project / "conf" / "task" / "counting.yaml").read_text(encoding="utf-8")),
    )
    folder = project / option["data"]
    write(reader.read(given(project / "given")), folder, option["file"], reader.COUNTS)
    pin(project, option["data"], "bench")
    return module("src/prunegrid/tasks/counting.py").Counting.from_config(option), folder


def test_the_benchmark_is_read_asked_judged_and_counted(project: Path) -> None:
    task, folder = added(project)
    samples = list(task.samples(folder))
    assert [s.prompt for s in samples] == [
        "How many bottles are there?\nAnswer the question using a single word or phrase."
    ] * 2
    for mode in ("official", "strict"):
        judged = [task.judge(s.record(text), mode) for s, text in zip(samples, ("12.", "many"), strict=True)]
        assert task.score(judged) == {"accuracy": 0.5, "unparsed": 0.5}


def test_a_missing_question_is_noticed(project: Path) -> None:
    reader = module("src/prunegrid/benchmarks/counting.py")
    with pytest.raises(TaskError, match="1 rows"):
        write(reader.read(given(project / "less", 1)), project / "out", "counting.jsonl", reader.COUNTS)


# ---- study, model, cluster ---------------------------------------------------------------------------------------
def test_the_study_is_planned_for_the_model_and_its_hours_are_estimated(project: Path) -> None:
    added(project)
    plan = draft(project, project / "results", "longest")
    shown = [row for row in plan.rows if not row["support"]]
    assert len(shown) == 5 * 3 + 3 * 3
    assert {row["model"] for row in plan.rows} == {"ours_7b"}
    assert {row["cell"]["model"]["path"] for row in plan.rows} == {"data/models/ours_7b/llava"}
    assert {row["reducer"]["keep"] for row in shown if row["row"] == "longest 64"} == {64}
    assert all(row["like"] for row in shown if row["row"].startswith("longest, as many"))
    assert estimate(plan, project, "h100").prediction_hours > 0


def test_its_twin_runs_on_the_embedded_model(project: Path) -> None:
    (project / "data" / "mini").mkdir(parents=True)
    (project / "data" / "mini" / "weights").symlink_to(ROOT / "data" / "mini" / "weights")
    plan = make(project, project / "results", "mini_longest")
    assert {row["model"] for row in plan.rows} == {"mini"}
    assert {row["column"] for row in plan.rows} == {"mini_textvqa", "mini_pope"}, (
        "nothing stands for counting"
    )
    assert {row["reducer"]["keep"] for row in plan.rows if row["row"] == "longest 64"} == {16}


def test_the_profile_says_nothing_that_the_plugin_does_not_know() -> None:
    profile = yaml.safe_load(EXAMPLES["workflow/profiles/campus/config.yaml"])
    ours = yaml.safe_load((ROOT / "workflow/profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    settings = {f"submitit-{f.name.replace('_', '-')}" for f in dataclasses.fields(ExecutorSettings)}
    assert set(profile) <= settings | set(ours) | {"set-resources"}
    rules = re.findall(
        r"^rule (\w+):", "".join(f.read_text() for f in (ROOT / "workflow/rules").glob("*.smk")), re.M
    )
    assert set(profile["set-resources"]) <= set(rules)
    assert yaml.safe_load(EXAMPLES["workflow/profiles/campus/cluster.yaml"]) == {"judge": "job"}
