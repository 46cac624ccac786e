"""Every parameter of every method is what its class declares, or the method is not built; and whether it fits a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from prunegrid.reduce import Place, Reducer, Site
from prunegrid.reduce.fit import check_fits
from prunegrid.reduce.learned import Learned
from prunegrid.reduce.methods.prumerge import PruMerge
from prunegrid.reduce.methods.topk_cls import TopKCls
from prunegrid.shape import ModelShape, llava15_7b
from test_contract import REDUCERS, made, model_of


def parameters() -> Iterator[tuple[str, str]]:
    full = llava15_7b()
    for name in REDUCERS:
        for field in fields(made(name, model_of(full))):
            if field.init:
                yield name, field.name


@pytest.mark.parametrize(("name", "option"), parameters())
def test_a_value_of_another_kind_is_refused_by_name(name: str, option: str) -> None:
    method = made(name, model_of(llava15_7b()))
    hint = get_type_hints(type(method))[option]
    wrong: list[Any] = [{"of": 3}, "no such choice"]
    if hint is not bool and bool not in get_args(hint):
        wrong.append(True)
    if hint in (str, str | None):
        wrong[1] = 3
    if get_origin(hint) in (Sequence, tuple):
        wrong.append(("x",))
    for value in wrong:
        with pytest.raises(ValueError, match=rf"{type(method).__name__}: {option}=.* must be "):
            replace(method, **{option: value})


@dataclass(frozen=True)
class Picky(Reducer):
    how: Literal["fast", "slow"] | None = None
    share: float | Literal["all"] = 0.5
    layers: Sequence[int] = (1, 2)
    anything: object = None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"how": "quick"}, "Picky: how='quick' must be 'fast', 'slow' or null"),
        ({"share": "some"}, "Picky: share='some' must be a number or 'all'"),
        ({"share": None}, "share=None must be a number or 'all'"),
        ({"layers": (1, 2.5)}, r"layers=\(1, 2.5\) must be a list, each a whole number"),
        ({"layers": 3}, "layers=3 must be a list"),
    ],
)
def test_an_error_says_what_is_allowed(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Picky(**values)


def test_declared_values_pass() -> None:
    Picky(how=None, share=1, layers=[], anything=object())
    Picky(how="slow", share="all", layers=(3,))


@dataclass(frozen=True)
class At(Reducer):
    place: Place = Place.VISION
    layer: int = 0

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        return (Site(self.place, self.layer),)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (At(Place.VISION, 24), "ViT layer 24 does not exist: this model has 24"),
        (At(Place.VISION, 23), "ViT layer 23 changes nothing: LLaVA reads layer 22's output"),
        (At(Place.PROMPT, 32), "LLM layer 32 does not exist: this model has 32"),
        (At(Place.CACHE, -33), "LLM layer -33 does not exist"),
        (TopKCls(layer=99), "ViT layer 99 does not exist"),
        (PruMerge(layer=99), "ViT layer 99 does not exist"),
        (Learned(), "there are no weights"),
    ],
    ids=str,
)
def test_what_a_model_does_not_have_is_refused_without_running_it(method: Reducer, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_fits(method, llava15_7b())


@pytest.mark.parametrize("name", REDUCERS)
def test_every_method_fits_the_model_that_its_figures_are_for(name: str) -> None:
    check_fits(made(name, model_of(llava15_7b())), llava15_7b())
