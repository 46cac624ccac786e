"""Configuration that cannot be right: one error that names the value, the place and the remedy; exit code 2."""

from __future__ import annotations

from typing import Any

import pytest

from grid.project import Project
from prunegrid.run.main import main

STUDY = "conf/study/mine.yaml"
CODE = '!!python/object/apply:os.mkdir ["{}/owned"]'


@pytest.fixture
def refused(project: Project, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command that must fail as a user's error; gives what it says."""

    def run(*words: str) -> str:
        capsys.readouterr()
        assert main(["--root", str(project.root), *words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("prunegrid: ") and err.count("prunegrid:") == 1
        assert "Traceback" not in err
        return err

    return run


def block(**axes: Any) -> dict[str, Any]:
    return {"model": "tiny", "task": "mini_vqa", "reducer": "none", **axes}


@pytest.mark.parametrize(
    ("axes", "value", "remedy"),
    [
        ({"reducer": "prumurge"}, "unknown reducer 'prumurge'", "'prumerge'"),
        ({"reducer": {"prumurge": {"k": 3}}}, "unknown reducer 'prumurge'", "'prumerge'"),
        ({"reducer": "../reducer/none"}, "unknown reducer '../reducer/none'", "There are: "),
        ({"task": "mini_vga"}, "unknown task 'mini_vga'", "'mini_vqa'"),
        ({"model": "minni"}, "unknown model 'minni'", "'mini'"),
        ({"tuning": "nune"}, "unknown tuning 'nune'", "'none'"),
        ({"decoding": "greed"}, "unknown decoding 'greed'", "'greedy'"),
        ({"reducer": {"prumerge": {"fense": 1}}}, "unknown option of reducer 'prumerge' 'fense'", "'fence'"),
        ({"task": {"mini_vqa": {"file_": "x"}}}, "unknown option of task 'mini_vqa' 'file_'", "'file'"),
        ({"reducer": {"none": {"_target_": "x.Y"}}}, "'_target_'", "There are"),
        ({"task": {"mini_vqa": {"name": "../x"}}}, "'name'", "There are"),
        ({"reducer": {"random": {"keep": {"like": "prumurge"}}}}, "unknown reducer 'prumurge'", "'prumerge'"),
        ({"reducer": {"random": {}, "none": {}}}, "reducer {'random': {}, 'none': {}}", "must be a name"),
        ({"reducer": {"random": 3}}, "3 must be a mapping", "options"),
        ({"reducers": "none"}, "unknown axis 'reducers'", "'reducer'"),
        ({"task": []}, "axis task is empty", "give it a choice"),
        ({"seed": -1}, "seed=-1", "at least 0"),
        ({"seed": 1.5}, "seed=1.5", "whole number"),
        ({"decoding": {"greedy": {"batch_size": 0}}}, "batch_size=0", "at least 1"),
        ({"decoding": {"greedy": {"batch_size": "many"}}}, "batch_size='many'", "a number"),
        ({"reducer": {"prumerge": {"merge": "nope"}}}, "prumerge.merge='nope'", "true or false"),
        ({"reducer": {"prumerge": {"fence": ".inf"}}}, "prumerge.fence='.inf'", "a number"),
        ({"reducer": {"prumerge": {"fence": float("inf")}}}, "prumerge.fence=inf", "finite"),
        ({"reducer": {"prumerge": {"keep": [4, 99]}}}, "prumerge.keep=99", "1 to 16"),
        ({"reducer": {"prumerge": {"variant": 3}}}, "prumerge.variant=3", "a word"),
    ],
)  # fmt: skip
def test_a_study_naming_what_does_not_exist(
    axes: dict[str, Any], value: str, remedy: str, project: Project, refused: Any
) -> None:
    project.study("mine", block(**axes))
    said = refused("ls", "mine")
    for part in (value, STUDY, remedy):
        assert part in said


@pytest.mark.parametrize(
    ("keep", "named"),
    [
        (0, "keep=0"), (-3, "keep=-3"), (17, "keep=17"), (0.0, "keep=0.0"), (-0.5, "keep=-0.5"), (1.5, "keep=1.5"),
        (True, "keep=True"), ("many", "keep='many'"),
        ({"of": 576, "keep": 0}, "0 of 576"), ({"of": 576, "keep": 600}, "600 of 576"), ({"of": 576}, "no figure"),
    ],
)  # fmt: skip
def test_a_budget_that_no_model_can_keep(keep: Any, named: str, project: Project, refused: Any) -> None:
    project.study("mine", block(reducer={"topk_cls": {"keep": keep}}))
    said = refused("ls", "mine")
    assert named in said and STUDY in said
    assert any(
        remedy in said for remedy in ("1 to 16", "at most 1", "1 to 576", "write {of", "must be a number")
    )


@pytest.mark.parametrize(
    ("reducer", "parts"),
    [
        ({"prumerge": {"select": "topk"}}, ("select=topk needs keep",)),
        ({"prumerge": {"select": "top"}}, ("select='top'", "'iqr' or 'topk'")),
        ({"prumerge": {"ratio": "x"}}, ("ratio='x'", "'image' or 'batch'")),
        ({"prumerge": {"neighbours": 7}}, ("neighbours=7", "'all', 'pruned' or null")),
        ({"prumerge": {"fence": -1}}, ("fence=-1", "must not be negative")),
        ({"prumerge": {"k": 0}}, ("k=0", "at least 1")),
        ({"prumerge": {"layer": 99}}, ("layer 99 does not exist", "0 to 3")),
        ({"prumerge": {"layer": "last"}}, ("layer='last'", "a whole number or null")),
        ({"topk_cls": {"layer": -9}}, ("layer -9 does not exist", "0 to 3")),
        ({"spatial": {"rows": 5, "columns": 1}}, ("5 x 1", "4 x 4")),
        ({"spatial_pool": {"out": 3}}, ("out=3", "[1, 2, 4]")),
        ({"visionzip": {"keep": 8, "contextual": 40}}, ("keep=8", "contextual=40")),
        ({"progressive": {"score": "best"}}, ("score='best'", "'cls' or 'random'")),
        ({"c_abstractor": {}}, ("there are no weights", "untrained=true")),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("command", ["plan", "cell", "cell --dry-run"])
def test_what_only_the_method_can_judge_is_refused_before_anything_is_written(
    command: str, reducer: dict[str, Any], parts: tuple[str, ...], project: Project, refused: Any
) -> None:
    ((name, values),) = reducer.items()
    if command == "plan":
        project.study("mine", block(reducer=reducer))
        said = refused("plan", "mine")
        assert STUDY in said
    else:
        words = [f"reducer={name}", *(f"reducer.{k}={v}" for k, v in values.items()), "model=tiny"]
        said = refused(*command.split(), *words, "task=mini_vqa")
        assert " ".join(words) in said
    for part in (f"reducer {name!r} of tiny-{name}-mini_vqa-", "model 'tiny'", *parts):
        assert part in said
    assert not project.results.exists()


@pytest.mark.parametrize("keep", [1, 16, 0.01, 1.0])
def test_the_ends_of_the_range_are_budgets(keep: Any, project: Project) -> None:
    project.study("mine", block(reducer={"topk_cls": {"keep": keep}}))
    assert main(["--root", str(project.root), "plan", "mine"]) == 0


def test_only_blind_keeps_no_token(project: Project) -> None:
    project.study("mine", block(reducer="blind"))
    assert main(["--root", str(project.root), "plan", "mine"]) == 0


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"layout": {"rows": "reducers"}}, "unknown axis of layout.rows 'reducers'"),
        ({"layout": {"row": "reducer"}}, "unknown side of layout 'row'"),
        ({"tables": 1}, "unknown key 'tables'"),
        ({"blocks": []}, "blocks must be a list"),
        ({"blocks": {"model": "tiny"}}, "blocks must be a list"),
        ({"limit": 0}, "limit=0"),
        ({"published": {"model": "x", "values": {"nune": {"mini_vqa": 1}}}}, "unknown row 'nune'"),
        ({"published": {"model": "x", "values": {"none": {"mini_vga": 1}}}}, "unknown column 'mini_vga'"),
    ],
)
def test_a_study_that_is_no_study(
    content: dict[str, Any], named: str, project: Project, refused: Any
) -> None:
    project.write(STUDY, {"blocks": [block()], **content})
    said = refused("ls", "mine")
    assert named in said and STUDY in said


@pytest.mark.parametrize("name", ["mone", "../study/mine", "Mine", "mine.yaml", ""])
def test_an_unknown_study(name: str, project: Project, refused: Any) -> None:
    project.study("mine", block())
    said = refused("ls", name)
    assert f"unknown study {name!r}" in said and "There are: mine" in said


def test_a_limit_on_the_command_line(project: Project, refused: Any) -> None:
    project.study("mine", block())
    assert "limit=-2" in refused("ls", "mine", "--limit", "-2")


@pytest.mark.parametrize("group", ["reducer", "task"])
@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("os.system", "outside prunegrid"),
        ("prunegrid.tasks.nope.X", "does not exist"),
        ("prunegrid.tasks.pope.Popo", "Pope"),
    ],
)
def test_a_target_that_must_not_or_cannot_run(
    group: str, target: str, said: str, project: Project, refused: Any
) -> None:
    name = {"reducer": "none", "task": "mini_vqa"}[group]
    text = (project.root / "conf" / group / f"{name}.yaml").read_text(encoding="utf-8")
    lines = [f"_target_: {target}" if line.startswith("_target_") else line for line in text.splitlines()]
    project.write(f"conf/{group}/evil.yaml", "\n".join(lines).replace(f"name: {name}", "name: evil"))
    project.study("mine", block(**{group: "evil"}))
    error = refused("ls", "mine")
    assert repr(target) in error and f"conf/{group}/evil.yaml" in error and said in error


@pytest.mark.parametrize("group", ["model", "reducer", "task", "tuning"])
def test_a_name_that_leaves_its_folder(group: str, project: Project, refused: Any) -> None:
    name = {"model": "tiny", "reducer": "none", "task": "mini_vqa", "tuning": "none"}[group]
    text = (project.root / "conf" / group / f"{name}.yaml").read_text(encoding="utf-8")
    project.write(f"conf/{group}/odd.yaml", text.replace(f"name: {name}", 'name: "../../x"', 1))
    project.study("mine", block(**{group: "odd"}))
    said = refused("ls", "mine")
    assert f"{group} name '../../x'" in said and "lower-case letters" in said
    assert not (project.root.parent / "x").exists()


@pytest.mark.parametrize("file", ["conf/study/mine.yaml", "conf/reducer/random.yaml", "data.dvc"])
def test_yaml_that_would_run_code_is_refused_and_does_not_run(
    file: str, project: Project, refused: Any
) -> None:
    project.study("mine", block(reducer="random"))
    text = (project.root / file).read_text(encoding="utf-8")
    project.write(file, f"{text}\nextra: {CODE.format(project.root)}\n")
    said = refused("ls", "mine")
    assert "python/object/apply" in said
    assert not (project.root / "owned").exists()


def test_weights_outside_their_data_are_refused(project: Project, refused: Any) -> None:
    """The md5 of the data stands for the weights: they have to lie in it."""
    text = (project.root / "conf" / "model" / "tiny.yaml").read_text(encoding="utf-8")
    project.write("conf/model/tiny.yaml", text.replace("path: data/tiny/llava", "path: data/mini/llava"))
    project.study("mine", block())
    said = refused("ls", "mine")
    assert "conf/model/tiny.yaml" in said and "'data/mini/llava' lies outside its data 'data/tiny'" in said


def test_data_that_data_dvc_does_not_pin(project: Project, refused: Any) -> None:
    project.study("mine", block(task="pope"))
    said = refused("ls", "mine")
    assert "no out for 'data/bench/pope'" in said and "Add the data first" in said
