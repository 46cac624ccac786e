"""What names a cell: everything that can change a number, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml

from prunegrid.grid.cell import Cell
from prunegrid.grid.errors import GridError

MODEL = {
    "name": "tiny", "path": "data/w/llava", "data": "data/w", "revision": None, "family": "llava", "dtype": "float32",
    "tokens": 16, "side": 4, "vision_layers": 4, "llm_layers": 4, "template": "{question}", "published": "tiny",
}  # fmt: skip
CELL = Cell(
    model=MODEL,
    reducer={"name": "topk_cls", "_target_": "prunegrid.reduce.methods.topk_cls.TopKCls", "keep": 4, "layer": -2},
    task={"name": "pope", "_target_": "prunegrid.tasks.pope.Pope", "data": "data/s", "file": "p.jsonl",
          "prompt": "{question}", "max_new_tokens": 4},
    tuning={"name": "none"},
    decoding={"name": "greedy", "batch_size": 8, "do_sample": False},
    seed=0,
    limit=None,
    data={"data/w": "1" * 32 + ".dir", "data/s": "2" * 32 + ".dir"},
    version="1",
)  # fmt: skip


def test_ids_are_those_of_yesterday() -> None:
    """If this fails, every result that people have is orphaned: say so in the change that does it."""
    assert CELL.prediction_id() == "tiny-topk_cls-pope-3f929e9f84"
    assert CELL.id() == "tiny-topk_cls-pope-4779c95e1e"
    assert CELL.adapter_id() is None
    assert replace(CELL, tuning={"name": "lora"}).adapter_id() == "tiny-lora-topk_cls-0ed4f9bfc0"


def shuffled(value: Any) -> Any:
    """The same mapping with its keys the other way round, at every depth."""
    if isinstance(value, Mapping):
        return {k: shuffled(v) for k, v in reversed(list(value.items()))}
    return value


def test_the_order_of_keys_does_not_matter() -> None:
    row = shuffled(CELL.to_dict())
    assert list(row) != list(CELL.to_dict())
    assert Cell.from_dict(row).id() == CELL.id()


def test_a_cell_survives_yaml_and_json() -> None:
    row = CELL.to_dict()
    assert Cell.from_dict(yaml.safe_load(yaml.safe_dump(row))) == CELL
    assert Cell.from_dict(json.loads(json.dumps(row))) == CELL


def within(part: str, **values: Any) -> Callable[[Cell], Cell]:
    return lambda cell: replace(cell, **{part: {**getattr(cell, part), **values}})


CHANGES: dict[str, Callable[[Cell], Cell]] = {
    "checkpoint": within("model", path="data/w/other"),
    "revision": within("model", revision="abc"),
    "dtype": within("model", dtype="bfloat16"),
    "template": within("model", template="USER: {question}"),
    "reducer": within("reducer", _target_="prunegrid.reduce.methods.random.Random"),
    "budget": within("reducer", keep=5),
    "share instead of a number": within("reducer", keep=1.0),
    "layer": within("reducer", layer=-1),
    "prompt": within("task", prompt="Q: {question}"),
    "questions": within("task", file="q.jsonl"),
    "answer length": within("task", max_new_tokens=5),
    "tuning": within("tuning", name="lora"),
    "batch size": within("decoding", batch_size=4),
    "search": within("decoding", do_sample=True),
    "seed": lambda cell: replace(cell, seed=1),
    "limit": lambda cell: replace(cell, limit=10),
    "content of the weights": within("data", **{"data/w": "3" * 32 + ".dir"}),
    "content of the questions": within("data", **{"data/s": "3" * 32 + ".dir"}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_can_change_an_answer_changes_both_ids(what: str) -> None:
    other = CHANGES[what](CELL)
    assert other.prediction_id() != CELL.prediction_id()
    assert other.id() != CELL.id()


def test_all_changes_have_ids_of_their_own() -> None:
    assert len({change(CELL).id() for change in CHANGES.values()} | {CELL.id()}) == len(CHANGES) + 1


def test_a_new_scorer_costs_no_prediction() -> None:
    other = replace(CELL, version="2")
    assert other.prediction_id() == CELL.prediction_id()
    assert other.id() != CELL.id()


def test_a_methods_own_weights_count_by_their_content() -> None:
    own = within("reducer", weights="data/p/w.pt", untrained=False)(CELL)
    here, other = (replace(own, data={**CELL.data, "data/p": md5}) for md5 in ("5" * 32, "6" * 32))
    assert here.prediction_id() != other.prediction_id()
    tuned = [replace(c, tuning={"name": "lora", "reducer": c.reducer}) for c in (here, other)]
    assert tuned[0].adapter_id() != tuned[1].adapter_id()
    moved = within("reducer", weights="q/w.pt")(replace(here, data={**CELL.data, "q": "5" * 32}))
    assert moved.prediction_id() == here.prediction_id()


@pytest.mark.parametrize(
    "moved",
    [
        replace(
            CELL,
            model={**MODEL, "path": "elsewhere/w/llava", "data": "elsewhere/w"},
            data={"elsewhere/w": "1" * 32 + ".dir", "data/s": "2" * 32 + ".dir"},
        ),
        replace(
            CELL,
            task={**CELL.task, "data": "scenes"},
            data={"data/w": "1" * 32 + ".dir", "scenes": "2" * 32 + ".dir"},
        ),
        replace(CELL, model={**MODEL, "published": "another table's name"}),
    ],
    ids=["weights moved", "questions moved", "name in published tables"],
)
def test_where_things_lie_changes_no_id(moved: Cell) -> None:
    assert (moved.prediction_id(), moved.id()) == (CELL.prediction_id(), CELL.id())


@pytest.mark.parametrize("part", ["model", "reducer", "task", "tuning"])
@pytest.mark.parametrize("name", ["../x", "a/b", "", "Upper", "a b", "mini\n", ".."])
def test_a_name_cannot_leave_its_folder(part: str, name: str) -> None:
    with pytest.raises(GridError, match="folder"):
        within(part, name=name)(CELL)


@pytest.mark.parametrize(
    "edit",
    [
        lambda row: row["reducer"].update(keep=7),
        lambda row: row.update(seed=3),
        lambda row: row.update(limit=1),
        lambda row: row["data"].update({"data/s": "f" * 32}),
        lambda row: row.update(id="tiny-topk_cls-pope-0123456789"),
        lambda row: row.pop("decoding"),
        lambda row: row.update(extra=1),
        lambda row: row["model"].pop("path"),
    ],
)
def test_an_edited_cell_file_is_refused_by_name(edit: Callable[[dict[str, Any]], Any]) -> None:
    row = yaml.safe_load(yaml.safe_dump(CELL.to_dict()))
    edit(row)
    with pytest.raises(GridError, match=r"tiny-topk_cls-pope-[0-9a-f]{10}.*plan"):
        Cell.from_dict(row)
