"""What is trained for a cell: resolved, shared by the cells that agree on it, and chained."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from prunegrid.grid.cell import Cell
from prunegrid.grid.errors import GridError
from prunegrid.grid.tuning import chain

from .project import ROOT, Project

REAL = {"data/tune/llava_v1_5_mix665k": "c" * 32 + ".dir", "data/tune/llava_pretrain_558k": "d" * 32 + ".dir"}


def adapter(project: Project, tuning: Any = "mini_lora", reducer: Any = "topk_cls", **point: Any) -> str:
    return str(project.cell(tuning=tuning, reducer=reducer, **point).adapter_id())


def test_cells_that_agree_on_what_is_trained_share_it(shared: Project) -> None:
    first = adapter(shared, task="mini_vqa")
    assert re.fullmatch(r"mini-mini_lora-topk_cls-[0-9a-f]{10}", first)
    assert adapter(shared, task="mini_pope", decoding={"greedy": {"batch_size": 4}}) == first
    assert shared.cell(tuning="none").adapter_id() is None


@pytest.mark.parametrize(
    "other",
    [
        {"reducer": "random"},
        {"reducer": {"topk_cls": {"keep": 5}}},
        {"seed": 1},
        {"tuning": "mini_full"},
        {"tuning": {"mini_lora": {"rate": 0.01}}},
        {"tuning": {"mini_lora": {"reducer": "none"}}},
        {"tuning": {"mini_lora": {"seed": 7}}},
        {"tuning": {"mini_lora": {"after": "mini_projector"}}},
    ],
    ids=str,
)
def test_what_changes_the_training_changes_the_adapter_and_the_answers(
    shared: Project, other: dict[str, Any]
) -> None:
    assert adapter(shared, **other) != adapter(shared)
    cells = [shared.cell(**({"tuning": "mini_lora", "reducer": "topk_cls"} | o)) for o in ({}, other)]
    assert cells[0].prediction_id() != cells[1].prediction_id()


def test_training_and_evaluation_have_reducers_of_their_own(shared: Project) -> None:
    full = {"mini_lora": {"reducer": "none"}}
    one, other = (shared.cell(tuning=full, reducer=name) for name in ("topk_cls", "random"))
    assert one.adapter_id() == other.adapter_id() and one.id() != other.id()
    assert one.tuning["reducer"]["name"] == "none" and one.reducer["name"] == "topk_cls"
    carried = shared.cell(tuning={"mini_lora": {"reducer": "topk_cls"}}, reducer="none")
    assert carried.tuning["reducer"]["keep"] == 16  # 64 of 576, at the mini model's scale


def test_a_seed_of_its_own_stays_while_the_cell_moves(shared: Project) -> None:
    fixed = {"mini_lora": {"seed": 7}}
    assert adapter(shared, fixed, seed=0) == adapter(shared, fixed, seed=1)
    assert adapter(shared, seed=0) != adapter(shared, seed=1)


def test_a_chain_is_trained_in_order_and_each_link_is_shared(shared: Project) -> None:
    cell = shared.cell(tuning={"mini_full": {"after": "mini_projector"}}, reducer="topk_cls")
    links = [each.adapter_id() for each in chain(cell)]
    assert links == [adapter(shared, "mini_projector"), cell.adapter_id()]
    assert [each.tuning["reducer"] for each in chain(cell)] == [cell.reducer] * 2


def test_the_plan_says_what_the_rule_needs(project: Project) -> None:
    plan = project.plan(
        {
            "tuning": [{"mini_full": {"after": "mini_projector"}}],
            "reducer": ["topk_cls"],
            "task": ["mini_vqa"],
        }
    )
    row = next(r for r in plan.rows if not r["support"])
    first, last = row["adapters"]
    assert (first["after"], last["after"]) == (None, first["id"]) and last["id"] == row["adapter"]
    assert last["made"]["module"] == "prunegrid.mini.instruct" and re.fullmatch(
        "[0-9a-f]{12}", last["made"]["digest"]
    )
    assert list(last["data"]) == ["data/mini/weights"]
    twins = [
        r for r in plan.rows if r["support"]
    ]  # the tuned full-token cell is the baseline of a tuned cell
    assert {r["reducer"]["name"] for r in twins} == {"none", "blind"} and all(r["adapter"] for r in twins)
    assert Cell.from_dict(row["cell"]).adapter_id() == row["adapter"]


def test_a_budget_from_another_cell_makes_the_training_wait_for_it(project: Project) -> None:
    like = {"topk_cls": {"keep": {"like": "prumerge"}}}
    plan = project.plan({"tuning": ["mini_lora"], "reducer": [like], "task": ["mini_vqa"]})
    row = next(r for r in plan.rows if not r["support"])
    assert row["adapters"][0]["like"] == row["like"]
    with pytest.raises(GridError, match="needs a budget of its own"):
        project.cell(tuning={"mini_lora": {"reducer": like}})
    own = project.plan(
        {"tuning": [{"mini_lora": {"reducer": "none"}}], "reducer": [like], "task": ["mini_vqa"]}
    )
    assert {a["like"] for r in own.rows for a in r["adapters"]} == {None}


def test_weights_of_a_method_lie_in_pinned_data(project: Project) -> None:
    with pytest.raises(GridError, match=r"data.dvc has no out for 'mine/w.pt'"):
        project.cell(reducer={"c_abstractor": {"weights": "mine/w.pt"}})
    project.pin({"data/mini/scenes": "a", "data/mini/weights": "b", "mine": "c"})
    assert project.cell(reducer={"c_abstractor": {"weights": "mine/w.pt"}}).data["mine"] == "c"


@pytest.mark.parametrize("name", sorted(f.stem for f in (ROOT / "conf" / "tuning").glob("*.yaml")))
def test_a_tuning_resolves_where_its_data_are_pinned(project: Project, name: str) -> None:
    if name in ("lora", "full", "projector", "pretrain_projector"):
        with pytest.raises(GridError, match=r"data.dvc has no out for 'data/tune"):
            project.cell(tuning=name)
    project.pin({"data/mini/scenes": "a", "data/mini/weights": "b", **REAL})
    cell = project.cell(tuning=name)
    moved = replace(cell, tuning={**cell.tuning, "data": "elsewhere"})
    assert name == "none" or moved.adapter_id() == cell.adapter_id()
    project.pin({"data/mini/scenes": "a", "data/mini/weights": "b", **dict.fromkeys(REAL, "e")})
    changed = project.cell(tuning=name).adapter_id() != cell.adapter_id()
    assert changed == bool(cell.tuning.get("data"))


def test_data_come_from_one_place(project: Project) -> None:
    with pytest.raises(GridError, match=r"either data .* or made"):
        project.cell(tuning={"mini_lora": {"made": None}})


@pytest.mark.parametrize(
    ("module", "said"),
    [("mylab.talk", "outside prunegrid"), ("prunegrid.mini.instrukt", "does not exist")],
)
def test_a_module_whose_changes_nobody_would_notice_is_refused(
    shared: Project, module: str, said: str
) -> None:
    with pytest.raises(GridError, match=rf"made: module '{module}' .*{said}"):
        shared.cell(tuning={"mini_lora": {"made": module}})


@pytest.mark.parametrize(("trained", "evaluated"), [("none", "c_abstractor"), ("crossget_tokens", "none")])
def test_own_weights_come_from_the_own_training(shared: Project, trained: str, evaluated: str) -> None:
    with pytest.raises(GridError, match=f"{trained} would train and {evaluated} be evaluated"):
        shared.cell(tuning={"mini_lora": {"reducer": trained}}, reducer=evaluated)
    same = {"mini_lora": {"reducer": {"c_abstractor": {"depth": 1}}}}
    assert shared.cell(tuning=same, reducer={"c_abstractor": {"depth": 1}}).adapter_id()


def test_settings_are_judged_while_planning(project: Project) -> None:
    project.plan({"tuning": "mini_lora", "reducer": "topk_cls", "task": "mini_vqa"})
    for tuning in ({"mini_lora": {"micro": 5}}, {"mini_full": {"after": "mini_projector", "decay": -1}}):
        with pytest.raises(GridError, match=r"tuning 'mini_\w+' of mini-.*tuning (batch|decay)=.* must be"):
            project.plan({"tuning": tuning, "reducer": "topk_cls", "task": "mini_vqa"})


def test_a_change_of_the_loop_is_a_new_training(project: Project) -> None:
    before = project.cell(tuning="mini_lora")
    code = before.tuning["code"]
    (project.root / "conf" / "accepted.yaml").write_text(f"{code}: old\n", encoding="utf-8")
    assert project.cell(tuning="mini_lora").tuning["code"] == "old"
    assert project.cell(tuning="mini_lora").adapter_id() != before.adapter_id()
