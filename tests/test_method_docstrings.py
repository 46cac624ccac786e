"""What a method's docstring must say: where it is from, what it takes and gives, what it costs.

Methods are discovered in conf/reducer, the modules that they share in their package. What a cost says of waiting for the
device is what tests/test_waits.py measures.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from prunegrid.reduce import Place, methods
from test_contract import REDUCERS, made, model_of, option, tiny_shape
from test_reducers import ADAPTIVE

PAPER = re.compile(r"arXiv:\d{4}\.\d{4,5}|ECCV \d{4}|this project's own|The baseline", re.IGNORECASE)
CODE = re.compile(r"[\w.-]+/[\w.-]+ at [0-9a-f]{7}\b|\bno (official )?code|this project's own", re.IGNORECASE)
SHAPES = re.compile(r"\[B, [^\]]+\]")
COST = re.compile(r"^ *(Cost: \S.*?)(?=\n *\n|\Z)", re.MULTILINE | re.DOTALL)
SYNC = re.compile(r"\b(No|One) sync\b")
USED = {option("reducer", name)["_target_"].rpartition(".")[0] for name in REDUCERS}
SHARED = sorted({f"{methods.__name__}.{f.stem}" for f in Path(methods.__path__[0]).glob("[!_]*.py")} - USED)


def cost(text: str) -> str:
    """The paragraph of the cost on one line; empty where there is none."""
    found = COST.search(text)
    return " ".join(found[1].split()) if found else ""


def missing(own: str, module: str) -> list[str]:
    """What the docstring of a class, with its module's for the source, leaves out."""
    whole = f"{module}\n{own}"
    parts = {
        "paper": PAPER.search(whole),
        "code": CODE.search(whole),
        "shapes": SHAPES.search(own),
        "cost": cost(own),
        "syncs": SYNC.search(cost(own)),
    }
    return [part for part, found in parts.items() if not found]


@pytest.mark.parametrize("name", REDUCERS)
def test_a_method_says_where_it_is_from_what_it_takes_and_what_it_costs(name: str) -> None:
    reducer = made(name, model_of(tiny_shape()))
    kind = type(reducer)
    own, module = vars(kind)["__doc__"], inspect.getmodule(kind).__doc__  # type: ignore[union-attr]
    assert not missing(own, module or ""), kind
    waits = name in ADAPTIVE or any(s.place == Place.CACHE for s in reducer.sites(tiny_shape()))
    said = SYNC.search(cost(own))
    assert said is not None and (said[1] == "One") == waits, cost(own)


@pytest.mark.parametrize("name", SHARED)
def test_what_methods_share_says_what_it_costs(name: str) -> None:
    module = importlib.import_module(name)
    own = [v.__doc__ or "" for v in vars(module).values() if getattr(v, "__module__", "") == name]
    assert any(SYNC.search(cost(text)) for text in (module.__doc__ or "", *own)), name


def test_the_check_sees_what_is_left_out() -> None:
    module = "Some method. arXiv:2111.15667; official code some/where at 11bc16b."
    own = "A formula.\n\n    [B, N] -> keep [B, n].\n    Cost: one row (2 N C). No\n    sync."
    assert missing(own, module) == []
    assert missing(own, "Some method.") == ["paper", "code"]
    assert missing(own.replace("[B, N] -> keep [B, n]", "keep"), module) == ["shapes"]
    assert missing(own.replace("Cost:", "It costs"), module) == ["cost", "syncs"]
    assert missing(own.replace("No\n    sync", "Free"), module) == ["syncs"]
