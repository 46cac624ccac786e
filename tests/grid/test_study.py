"""Studies: axes become cells, each with what it is compared with."""

from __future__ import annotations

from typing import Any

import pytest

from .project import Project

Row = dict[str, Any]


def shown(rows: list[Row]) -> list[Row]:
    return [r for r in rows if not r["support"]]


def test_axes_multiply_within_a_block_and_blocks_add_up(project: Project) -> None:
    rows = project.plan(
        {"task": ["mini_vqa", "mini_pope"], "reducer": ["none", "blind"]},
        {"task": "mini_sqa", "reducer": "random", "seed": [0, 1, 2]},
    ).rows
    assert len(shown(rows)) == 2 * 2 + 3
    assert {(r["row"], r["column"]) for r in shown(rows)} == {
        ("none", "mini_vqa"), ("none", "mini_pope"), ("blind", "mini_vqa"), ("blind", "mini_pope"), ("random", "mini_sqa"),
    }  # fmt: skip


def test_equal_cells_are_one_across_blocks_and_studies(project: Project) -> None:
    one = {"task": "mini_vqa", "reducer": ["none", {"prumerge": {"fence": 1.5}}]}
    two = {"task": "mini_vqa", "reducer": ["prumerge", "none", "random"]}
    first, second = (project.plan(b, name=n).rows for b, n in ((one, "one"), (two, "two")))
    prumerge = {r["id"] for r in first + second if r["reducer"]["name"] == "prumerge"}
    assert len(prumerge) == 1
    both = project.plan(one, two, name="both").rows
    assert {r["id"] for r in both} == {r["id"] for r in first} | {r["id"] for r in second}
    folders = {f.parent.name for f in (project.results / "cells").glob("*/cell.yaml")}
    assert folders == {r["id"] for r in both}


@pytest.mark.parametrize(
    ("spelling", "fence"),
    [("1.5", "1.50"), ("1.5", "15e-1"), ("2.0", "2"), ("0.25", ".25"), ("1e-3", "0.001")],
)
def test_the_spelling_of_a_number_does_not_matter(spelling: str, fence: str, project: Project) -> None:
    ids = []
    for text in (spelling, fence):
        project.write(
            "conf/study/mine.yaml", f"blocks: [{{task: mini_vqa, reducer: {{prumerge: {{fence: {text}}}}}}}]"
        )
        ids.append(shown(project.plan().rows)[0]["id"])
    assert ids[0] == ids[1]


@pytest.mark.parametrize(("given", "held"), [("20", 20), ("1", 1), ("1.0", 1.0), ("0.5", 0.5)])
def test_a_whole_number_where_the_yaml_holds_a_share_is_so_many_tokens(
    given: str, held: float, project: Project
) -> None:
    text = f"blocks: [{{task: mini_vqa, reducer: {{h2o: {{heavy: {given}, recent: {given}}}}}}}]"
    project.write("conf/study/mine.yaml", text)
    made = shown(project.plan().rows)[0]["cell"]["reducer"]["heavy"]
    assert made == held and type(made) is type(held)


def test_a_name_for_the_table_changes_no_cell(project: Project) -> None:
    plain, named = (
        shown(project.plan({"task": "mini_vqa", "reducer": reducer}).rows)[0]
        for reducer in ("prumerge", {"prumerge": {"as": "ours"}})
    )
    assert (plain["row"], named["row"]) == ("prumerge", "ours")
    assert plain["id"] == named["id"]


def test_every_cell_has_its_full_and_its_blind_twin(project: Project) -> None:
    rows = project.plan({"task": ["mini_vqa", "mini_pope"], "reducer": "prumerge", "seed": [0, 1]}).rows
    known = {r["id"]: r for r in rows}
    assert len(shown(rows)) == 4
    for row in shown(rows):
        full, blind = known[row["baseline"]], known[row["blind"]]
        assert (full["reducer"]["name"], blind["reducer"]["name"]) == ("none", "blind")
        assert full["support"] and blind["support"]
        for twin in (full, blind):
            assert twin["task"] == row["task"]
            assert twin["seed"] == 0  # one baseline for all seeds: it draws no lots
    assert len(known) == 4 + 4


def test_a_tuned_cell_is_set_against_full_tokens_that_were_trained_with_its_seed(project: Project) -> None:
    rows = project.plan(
        {"task": "mini_vqa", "reducer": ["none", "prumerge"], "tuning": "mini_lora", "seed": [0, 1]}
    ).rows
    known = {r["id"]: r for r in rows}
    assert len(shown(rows)) == 4
    for row in shown(rows):
        full, blind = known[row["baseline"]], known[row["blind"]]
        assert full["reducer"]["name"] == "none" and full["seed"] == row["seed"]
        assert row["reducer"]["name"] != "none" or full is row
        assert blind["seed"] == 0  # the floor is one


def test_a_twin_that_is_shown_is_not_added_again(project: Project) -> None:
    rows = project.plan({"task": "mini_vqa", "reducer": ["none", "blind", "prumerge"]}).rows
    assert [r["support"] for r in rows] == [False, False, False]


def test_a_budget_like_another_reducer_names_that_prediction(project: Project) -> None:
    rows = project.plan(
        {"task": "mini_vqa", "reducer": {"random": {"keep": {"like": "prumerge"}}}, "seed": [0, 1]}
    ).rows
    twin = next(r for r in rows if r["reducer"]["name"] == "prumerge")
    randoms = shown(rows)
    assert twin["support"] and len(randoms) == 2
    for row in randoms:
        assert row["like"] == twin["prediction"]
        assert row["reducer"]["keep"] == {"like": twin["prediction"]}


def test_a_budget_may_be_like_a_reducer_with_options_of_its_own(project: Project) -> None:
    wide = {"prumerge": {"fence": 3.0}}
    rows = project.plan({"task": "mini_vqa", "reducer": [{"topk_cls": {"keep": {"like": wide}}}, wide]}).rows
    like, twin = shown(rows)
    assert like["like"] == twin["prediction"]
    assert like["like"] in twin["id"] or twin["reducer"]["fence"] == 3.0


def test_a_reducer_whose_own_yaml_is_like_another_plans(project: Project) -> None:
    text = (project.root / "conf" / "reducer" / "random.yaml").read_text(encoding="utf-8")
    project.write("conf/reducer/random.yaml", text.replace("{of: 576, keep: 64}", "{like: prumerge}", 1))
    (row,) = shown(project.plan({"task": "mini_vqa", "reducer": "random"}).rows)
    assert row["like"] == row["reducer"]["keep"]["like"]


def test_figures_are_those_of_the_cells_own_model(project: Project) -> None:
    text = (project.root / "conf" / "model" / "mini.yaml").read_text(encoding="utf-8")
    for old, new in (("name: mini ", "name: big "), ("tokens: 144", "tokens: 576"), ("side: 12", "side: 24")):
        text = text.replace(old, new, 1)
    project.write("conf/model/big.yaml", text)
    rows = shown(
        project.plan({"model": ["mini", "big"], "task": "mini_vqa", "reducer": ["random", "spatial"]}).rows
    )
    found = {(r["model"], k): v for r in rows for k, v in r["reducer"].items() if k in ("keep", "rows")}
    assert found == {("mini", "keep"): 16, ("mini", "rows"): 3, ("big", "keep"): 64, ("big", "rows"): 6}


def test_published_numbers_stand_only_beside_the_published_model(project: Project) -> None:
    text = (project.root / "conf" / "model" / "mini.yaml").read_text(encoding="utf-8")
    text = text.replace("name: mini ", "name: seven ", 1).replace(
        "published: mini", "published: llava-1.5-7b", 1
    )
    project.write("conf/model/seven.yaml", text)
    published = {"model": "llava-1.5-7b", "values": {"ours": {"mini_vqa": 58.2}}}
    rows = shown(
        project.plan(
            {
                "model": ["mini", "seven"],
                "task": ["mini_vqa", "mini_pope"],
                "reducer": {"prumerge": {"as": "ours"}},
            },
            published=published,
        ).rows
    )
    found = {(r["model"], r["column"]): r["published"] for r in rows}
    assert found == {
        ("mini", "mini_vqa"): None, ("mini", "mini_pope"): None, ("seven", "mini_vqa"): 58.2, ("seven", "mini_pope"): None,
    }  # fmt: skip


def test_a_chosen_model_replaces_the_studys(project: Project) -> None:
    text = (project.root / "conf" / "model" / "mini.yaml").read_text(encoding="utf-8")
    project.write("conf/model/other.yaml", text.replace("name: mini ", "name: other ", 1))
    block = {"model": "mini", "task": "mini_vqa", "reducer": "none"}
    rows = project.plan(block, choose={"model": "other"}).rows
    assert {r["model"] for r in rows} == {"other"}


def test_rows_and_columns_follow_the_layout(project: Project) -> None:
    block = {"task": "mini_vqa", "reducer": ["random"], "seed": [0, 1]}
    rows = shown(project.plan(block, layout={"rows": "seed", "columns": "reducer"}).rows)
    assert [(r["row"], r["column"]) for r in rows] == [("0", "random"), ("1", "random")]


def test_no_paper_stands_beside_a_model_that_was_chosen_in_place_of_its_own(project: Project) -> None:
    """Another of the paper's models, in a row that the paper measured with this one."""
    text = (project.root / "conf" / "model" / "mini.yaml").read_text(encoding="utf-8")
    for name in ("seven", "tuned"):
        own = text.replace("name: mini ", f"name: {name} ", 1).replace(
            "published: mini", f"published: {name}", 1
        )
        project.write(f"conf/model/{name}.yaml", own)
    blocks = [
        {"model": "seven", "task": "mini_vqa", "reducer": {"prumerge": {"as": "free"}}},
        {"model": "tuned", "task": "mini_vqa", "reducer": {"prumerge_plus": {"as": "own"}}},
    ]
    values = {"free": {"mini_vqa": 58.2}, "own": {"mini_vqa": 60.1}}
    given = {"model": ["seven", "tuned"], "values": values}
    plans = [project.plan(*blocks, published=given, choose=chosen) for chosen in (None, {"model": "tuned"})]
    found = [{r["row"]: (r["published"], r["paper"]) for r in shown(plan.rows)} for plan in plans]
    assert found == [
        {"free": (58.2, True), "own": (60.1, True)},
        {"free": (None, False), "own": (60.1, True)},
    ]
