"""Time of every reduction method at LLaVA-1.5's shapes: against its slow reference, and as a share of the ViT forward.

    python benchmarks/reducers.py [--methods prumerge topk_cls ...] [--batch 1 8] [--repeats 3] [--device cpu]

Without options: every method, batch 1 and 8.

Random weights: times do not depend on what is in them, but the counts of adaptive methods do. The ViT is whole (24
layers, 1024 wide, 577 tokens). Methods that act in the language model are not timed here.
A method that acts behind the ViT is timed by itself, probe and text tower included: one call at each of its sites, on
what the ViT handed it.
A method inside the ViT is timed as the pass with it less the pass of `random` drops at the same places and counts: the
median of the differences of passes in turn (at least five), null where they spread wider than that.
Prints a JSON line of the machine and the date, then one per method and batch; milliseconds of the best of the repeats.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import reading
import torch
from stamp import stamp
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
from transformers.utils import logging

from prunegrid.grid.options import Options
from prunegrid.grid.scale import rescale
from prunegrid.latency import NOISE, Quartiles, differences, in_turn
from prunegrid.latency.clock import clock_of
from prunegrid.reduce import Place, Probe, ReducedVLM, Reducer, Reduction, Site, TokenView
from prunegrid.reduce.ops import apply
from prunegrid.reduce.vision import cls_rows
from prunegrid.run.build import resolve
from prunegrid.shape import ModelShape

ROOT = Path(__file__).parents[1]
FULL = {"tokens": 576, "side": 24, "vision_layers": 24, "llm_layers": 32}
BEHIND = ("prumerge", "prumerge_plus", "topk_cls", "received", "random", "sequential", "spatial", "spatial_pool",
          "visionzip", "vispruner", "divprune", "cdpruner")  # fmt: skip
TURNS = 5  # at least, where a difference and its spread are wanted
INSIDE = ("progressive", "evit", "ats", "tome", "crossget", "ivtp", "vtip")


def model(device: str) -> Any:
    """LLaVA-1.5's ViT and projector, one narrow layer of its language model (it is not timed), random weights."""
    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
        image_size=336, patch_size=14,
    )  # fmt: skip
    text = LlamaConfig(
        hidden_size=4096, intermediate_size=64, num_hidden_layers=1, num_attention_heads=32, vocab_size=64
    )
    options: dict[str, Any] = {"image_token_id": 63}
    config = LlavaConfig(vision_config=vision, text_config=text, vision_feature_layer=-2, **options)
    torch.manual_seed(0)
    with torch.device(device):
        return LlavaForConditionalGeneration(config).eval()


def method(name: str, **changed: Any) -> Reducer:
    """The reducer of conf/reducer at LLaVA-1.5's shape."""
    given = Options.of(ROOT / "conf").get("reducer", name, "here")
    values = {k: rescale(v, FULL, k) for k, v in given.items() if k not in ("name", "_target_")}
    made: Reducer = resolve(given["_target_"], name)(**{**values, **changed})
    return made


@dataclass(frozen=True)
class Looking(Reducer):
    """Keeps the views behind the ViT, with all that a method there may ask for."""

    views: dict[Place, TokenView] = field(default_factory=dict)

    def sites(self, shape: ModelShape) -> Any:
        return (Site(Place.FEATURES, probe=Probe((-2, -1), keys=True)), Site(Place.EMBEDS))

    def reduce(self, site: Site, view: TokenView, state: Any) -> None:
        self.views[site.place] = view


@dataclass(frozen=True)
class Dropping(Reducer):
    """Drops at another method's places down to its counts, for nothing: the pass that it is compared with."""

    inner: Reducer = field(default_factory=Reducer)
    counts: tuple[int, ...] = ()

    def sites(self, shape: ModelShape) -> Any:
        return [replace(s, probe=None, proportional=False) for s in self.inner.sites(shape)]

    def start(self, host: Any) -> Any:
        return iter(self.counts)

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction:
        return Reduction(
            view.index.new_zeros(len(view.index), 1) + torch.arange(next(state), device=view.index.device)
        )


class Encoder:
    """Passes through the ViT (and projector) alone, under a session."""

    def __init__(self, vlm: Any, batch: int, device: str) -> None:
        self.vlm, self.batch, self.device = vlm, batch, device
        self.pixels = torch.randn(batch, 3, 336, 336, device=device)
        ids = torch.tensor([[1, *[63] * 576, *[2] * 40]], device=device).expand(batch, -1)
        self.told = reading.told(ids, 63)
        self.inputs = (ids, torch.ones_like(ids), self.pixels)

    def __call__(self, reducer: Reducer) -> list[int]:
        """Tokens that enter the language model, per picture."""
        host = reading.host(self.vlm, reducer)
        with torch.no_grad(), host._session((), self.told) as session:
            encoded = session.encode(*self.inputs)
            self.entering = [] if session.vision is None else session.vision._entering
            return [len(f) for f in encoded.features or ()]


def best(run: Callable[[], Any], repeats: int, device: str) -> float:
    """Seconds of the fastest of the repeats, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def behind(name: str, encoder: Encoder, views: dict[Place, TokenView], repeats: int) -> tuple[float, float]:
    """(tokens, seconds) of the sites behind the ViT: rows of the probe, choice, mixing; for a method that reads, CLIP
    reading the question."""
    reducer = method(name)
    host = reading.host(encoder.vlm, reducer).host
    made: list[Any] = []

    def own() -> None:
        state = reducer.start(host)
        for site in reducer.sites(host.shape):
            view = replace(views[site.place], prompt=encoder.told)
            rows = {k: cls_rows(view.records[k]) for k in site.probe.layers} if site.probe else {}
            r = reducer.reduce(site, replace(view, attended=rows), state)
            if r is not None:
                made[:] = [apply(r, view.tokens, view.prefix)]

    with torch.no_grad():
        seconds = best(own, 5 * repeats, encoder.device)
    return float(made[0].shape[1]), seconds


def inside(name: str, encoder: Encoder, repeats: int) -> tuple[float, Quartiles]:
    """(tokens, seconds) added over the same ViT with as many tokens dropped for nothing at the same places."""
    reducer = method(name, **({"stages": "first"} if name in ("vtip", "ivtp") else {}))
    tokens = encoder(reducer)
    shape = ReducedVLM(encoder.vlm, Reducer()).host.shape
    after = [max(t.counts()) for t in encoder.entering]
    sites = [s for s in reducer.sites(shape) if s.place in (Place.VISION, Place.FEATURES)]
    counts = tuple(max(tokens) if s.layer is None else after[s.layer + 1] for s in sites)
    passes = {"without": Dropping(reducer, counts), "with": reducer}
    calls = {key: lambda r=each: encoder(r) for key, each in passes.items()}
    t = in_turn(calls, max(TURNS, repeats), clock_of(encoder.device), warmup=1)
    return sum(tokens) / len(tokens), Quartiles.of(differences(t["with"], t["without"]))


def alone(tokens: float, seconds: float, vit: float) -> dict[str, Any]:
    """What is printed of a method that was timed by itself; vit: seconds of the ViT forward."""
    return {"tokens": tokens, "ms": 1e3 * seconds, "percent_of_vit": 100 * seconds / vit}


def added(tokens: float, found: Quartiles, vit: float) -> dict[str, Any]:
    """What is printed of the time that a method adds to a pass; no time where noise exceeds it."""
    iqr = {"iqr_ms": 1e3 * found.spread}
    if not found.measurable:
        return {"tokens": tokens, "ms": None, "percent_of_vit": None, **iqr, "note": NOISE}
    return alone(tokens, found.median, vit) | iqr


def against_the_loop(repeats: int) -> dict[str, Any]:
    """PruMerge at m = 40 of 576 x 1024, one picture, from made inputs: the method against its reference."""
    sys.path.insert(0, str(ROOT / "tests"))
    from reduce.methods.test_prumerge_parity import view_of
    from reference import inputs, prumerge

    image = inputs.image(576, 1024, 40, dtype=torch.float32)
    reducer: Any = method("prumerge")
    view = view_of([image], -1)
    site = reducer.sites(None)[0]
    fast = best(lambda: apply(reducer.reduce(site, view, None), view.tokens, view.prefix), 5 * repeats, "cpu")
    slow = best(lambda: prumerge.prumerge(image.x, image.keys, image.a), 5 * repeats, "cpu")
    return {
        "method": "prumerge, m = 40",
        "batch": 1,
        "ms": 1e3 * fast,
        "loop_ms": 1e3 * slow,
        "times_faster": slow / fast,
    }


def options() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="*", default=[*BEHIND, *INSIDE])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--loop", action="store_true", help="PruMerge against its loop reference, too")
    return parser


def main() -> None:
    """The machine, the ViT, and every method."""
    given = options().parse_args()
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    print(json.dumps(stamp(given.device)), flush=True)
    if given.loop:
        with torch.no_grad():
            print(json.dumps(against_the_loop(given.repeats)), flush=True)
    vlm = model(given.device)
    for batch in given.batch:
        encoder = Encoder(vlm, batch, given.device)
        vit = best(lambda e=encoder: e(method("sequential")), given.repeats, given.device)
        print(json.dumps({"method": "the ViT forward", "batch": batch, "ms": 1e3 * vit}), flush=True)
        look = Looking()
        encoder(look)
        for name in given.methods:
            if name in BEHIND:
                row = alone(*behind(name, encoder, look.views, given.repeats), vit)
            else:
                row = added(*inside(name, encoder, given.repeats), vit)
            print(json.dumps({"method": name, "batch": batch, **row}), flush=True)


if __name__ == "__main__":
    main()
