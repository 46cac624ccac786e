"""How often a method waits for the device: once per site at most where counts differ, never where they are fixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from prunegrid.reduce import Place, cache, language, vision
from prunegrid.reduce.learned import Learned
from prunegrid.run.build import resolve
from reduce import clip, lab
from test_contract import REDUCERS, made, model_of, option, tiny_shape
from test_reducers import ADAPTIVE

# A site's whole work: view, rows of the probe, choice, mixing, bookkeeping.
WORK = ((vision.VisionSide, "_reduce"), (language.LanguageSide, "_narrow"), (cache.CacheSide, "_evict"))


class Waits(TorchDispatchMode):
    """Counts what would wait for an accelerator: numbers read, sizes that depend on data."""

    OPS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal", "is_nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = name in ("index", "index_put", "index_put_") and any(
            t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1]
        )
        self.seen += name in self.OPS or masks
        return func(*args, **(kwargs or {}))


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    """`tolist`, `cpu` and `numpy` do not pass the dispatcher; `check` reads nothing off an accelerator."""
    with monkeypatch.context() as patch, Waits() as waits:
        for name in ("tolist", "cpu", "numpy"):
            plain = getattr(torch.Tensor, name)

            def reading(tensor: Any, *args: Any, _plain: Any = plain, **options: Any) -> Any:
                waits.seen += 1
                return _plain(tensor, *args, **options)

            patch.setattr(torch.Tensor, name, reading)
        for module in (vision, language, cache):
            patch.setattr(module, "check", lambda r, *_: r)
        yield waits


def noting(method: Callable[..., Any], waits: Waits, spent: list[tuple[Any, int]]) -> Callable[..., Any]:
    def worked(side: Any, site: Any, *args: Any) -> Any:
        before = waits.seen
        result = method(side, site, *args)
        spent.append((site, waits.seen - before))
        return result

    return worked


@pytest.mark.parametrize("name", REDUCERS)
def test_a_site_waits_once_at_most_and_never_for_a_fixed_number(
    name: str, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reducer, inputs = made(name, model_of(tiny_shape())), lab.batch()
    prompt, spent = clip.told(inputs, lab.IMAGE), []  # type: ignore[var-annotated]
    with counted(monkeypatch) as waits, monkeypatch.context() as patch:
        for side, method in WORK:
            patch.setattr(side, method, noting(getattr(side, method), waits, spent))
        lab.host(model, reducer).generate(
            inputs, ids=["a", "b"], prompt=prompt, max_new_tokens=2, do_sample=False
        )
    sites = [s for s in reducer.sites(tiny_shape()) if s.place not in (Place.IMAGE, Place.PROJECTOR)]
    assert {s for s, _ in spent} >= set(sites), "every site did its work"
    for site, count in spent:
        # What a cache is cut to is read: heads and samples hold different numbers.
        allowed = int(name in ADAPTIVE or site.place == Place.CACHE)
        assert count <= allowed, f"{count} at {site}"


LEARNED = [
    name for name in REDUCERS if issubclass(resolve(option("reducer", name)["_target_"], name), Learned)
]


@pytest.mark.parametrize("name", LEARNED)
def test_a_learned_projector_never_waits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = tiny_shape()
    reducer: Any = made(name, model_of(shape))
    if [site.place for site in reducer.sites(shape)] != [Place.PROJECTOR]:
        pytest.skip("what it learned stands elsewhere: its sites are counted above")
    module: Any = reducer.build(shape)
    features = torch.randn(2, shape.vision.patches, shape.projector.inputs)
    prompt = clip.told(lab.batch(), lab.IMAGE)
    with counted(monkeypatch) as waits:
        out = module(features, torch.nn.Linear(shape.projector.inputs, shape.projector.outputs), prompt)
        assert waits.seen == 0
    assert out.shape[0] == 2


def test_the_counter_sees_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    with counted(monkeypatch) as waits:
        x = torch.arange(4)
        for act in (x.sum().item, x.tolist, lambda: bool(x.any()), lambda: x[x > 1], x.nonzero, x.cpu):
            before = waits.seen
            act()
            assert waits.seen == before + 1, act
        before = waits.seen
        _ = x.sort().values[:2] + x.gather(0, x.flip(0))[1:3]
        assert waits.seen == before
