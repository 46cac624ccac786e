"""TopK+: TopK goes on in the language model. Baseline of IVTP (ECCV 2024), Table 7, which has no code and no details."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from prunegrid.reduce.flops import Flops, Seen
from prunegrid.reduce.methods.progressive import Progressive
from prunegrid.reduce.methods.pseudo_cls import PseudoCls, Selection, passing
from prunegrid.reduce.methods.vit_schedule import linear
from prunegrid.reduce.ops import raster, top
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.reducer import Host, Reducer, budget, check_budget
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class Run:
    """State of one call: the model, and the visual CLS on its way through the language model."""

    host: Host
    cls: PseudoCls


@dataclass(frozen=True)
class TopKPlus(Reducer):
    """TopK in the ViT down to `entering` tokens (`Progressive`); then, at the inputs of LLM layers `layers`, those that
    the visual CLS attends to most in the layer before stay, the same number fewer each, down to `keep`; raster order.

    The visual CLS is projected and passes the layers as a token between the visual and the text tokens that nobody
    sees, at the position of the first text token: IVTP's pseudo-CLS without any text. Softmax per head over system,
    visual tokens and itself, mean over heads. The paper says no more than that TopK goes on in the language model;
    layers and `entering` are IVTP's, so that the two cost the same. Two layers that a shallow model lets fall together
    are one.
    [B, H, 1, K] rows -> [B, N] -> keep [B, n].
    Cost: one CLS row (2 N C) per ViT layer; one more token through the projector and the LLM layers up to the last of
    `layers`, with a row each (2 T D). No sync.
    """

    keep: int | float = 64
    entering: int | float = 133
    layers: Sequence[int] = tuple(range(1, 13))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_budget(self.keep, "TopKPlus")
        check_budget(self.entering, "TopKPlus")

    @property
    def first(self) -> Progressive:
        return Progressive(self.entering)

    def counts(self, shape: ModelShape) -> dict[int, int]:
        """LLM layer -> visual tokens that enter it."""
        layers = sorted(set(self.layers))
        if not layers or not 1 <= layers[0] <= layers[-1] < shape.llm.layers:
            raise ValueError(
                f"TopKPlus: layers={list(self.layers)} must lie in 1..{shape.llm.layers - 1}: each reads the layer before"
            )
        patches = shape.vision.patches
        start, keep = (budget(n, patches, "TopKPlus") for n in (self.entering, self.keep))
        if keep > start:
            raise ValueError(f"TopKPlus: keep={self.keep} must not exceed entering={self.entering}")
        return dict(zip(layers, linear(start, keep, len(layers)), strict=True))

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        steps = pairwise([0, *self.counts(shape)])
        inside = [Site(Place.PROMPT, i, Probe(tuple(range(before, i)), None)) for before, i in steps]
        look = Site(Place.PROMPT, 0, scope="all", picture=True)  # where the visual CLS is taken; nothing goes
        return [*self.first.sites(shape), look, *inside]

    def start(self, host: Host) -> Run:
        return Run(host, PseudoCls(Selection(ott=False, te=False, rt=False), None))

    def reduce(self, site: Site, view: TokenView, state: Run) -> Reduction | None:
        if site.place == Place.VISION:
            return self.first.reduce(site, view, state.host)
        if site.probe is None:
            state.cls.look(view)
            return None
        assert site.layer is not None
        rows = state.cls.advance(view, site.probe.layers)
        score = view.select(site.layer - 1, rows[site.layer - 1])
        n = min(self.counts(state.host.shape)[site.layer], score.shape[1])
        return Reduction(raster(top(score, n, view.valid))[0])

    def flops(self, host: Host, seen: Seen) -> Flops:
        return self.first.flops(host, seen) + passing(host, seen, max(self.counts(host.shape)))
