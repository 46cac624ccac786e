"""PyramidDrop: visual tokens halve at three depths of the language model.

arXiv:2410.17247; official code Cooperx521/PyramidDrop at 6444f30.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from prunegrid.reduce.flops import RMS_NORM, ROPE, Flops, Seen, each, linear, llm_rows
from prunegrid.reduce.methods.schedule import fixed, highest
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.reducer import Host, Reducer, check_budget
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class PyramidDrop(Reducer):
    """At the inputs of LLM layers `layers` keep the shares `keep` of the ORIGINAL visual tokens, rounded down
    (576 -> 288, 144, 72), by the last prompt token's attention: mean over heads of its row, [B, H, 1, N] -> [B, N].
    Positions of all tokens behind are counted anew at each stage, as released (`positions: keep` leaves them).

    `row` next, as released: the row of the layer that is about to run, formed ahead with its own norm, query and
    key projections and rotation; before: that of the layer that has just run, which costs nothing more.

    Differs from the official code: one query instead of all, no values; there a Python loop over samples and right
    padding, any batch here; in training it averages the rows of the tokens before each answer, here the last
    token's counts.
    Cost: per stage one row (2 T D), with `row` next the keys for it (2 T D Hkv Dh). No sync; one per stage where
    pictures of a batch bring different numbers of tokens.
    """

    layers: Sequence[int] = (8, 16, 24)
    keep: Sequence[float] = (0.5, 0.25, 0.125)
    positions: Literal["renumber", "keep"] = "renumber"
    row: Literal["next", "before"] = "next"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers or len(self.layers) != len(self.keep):
            raise ValueError(f"PyramidDrop: {len(self.layers)} layers, but {len(self.keep)} shares to keep")
        if list(self.layers) != sorted(set(self.layers)) or list(self.keep) != sorted(
            self.keep, reverse=True
        ):
            raise ValueError(
                f"PyramidDrop: layers={list(self.layers)} must rise, keep={list(self.keep)} fall"
            )
        for share in self.keep:
            check_budget(float(share), "PyramidDrop")

    def read(self, layer: int) -> int:
        """The LLM layer whose attention scores the stage at `layer`."""
        return layer if self.row == "next" else layer - 1

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        least = int(self.row == "before")
        if not least <= self.layers[0] <= self.layers[-1] < shape.llm.layers:
            raise ValueError(
                f"PyramidDrop: layers={list(self.layers)} must lie in {least}..{shape.llm.layers - 1}"
                + (": each reads the layer before it" if least else "")
            )
        return tuple(
            Site(Place.PROMPT, layer, Probe((self.read(layer),), "last"), positions=self.positions)
            for layer in self.layers
        )

    def start(self, host: Host) -> dict[str, Any]:
        return {}

    def score(self, view: TokenView, layer: int) -> Tensor:
        """[B, N] fp32."""
        return view.attention(self.read(layer)).mean(1).squeeze(1)

    def reduce(self, site: Site, view: TokenView, state: dict[str, Any]) -> Reduction:
        assert site.layer is not None
        if not state:
            state.update(counts=view.valid.sum(1), most=view.tokens.shape[1], full=view.full)
        share = self.keep[list(self.layers).index(site.layer)]
        if state["full"] and view.full:
            return fixed(self.score(view, site.layer), max(1, int(state["most"] * share)))
        counts = (state["counts"].double() * share).floor().long().clamp_min(1)
        return highest(self.score(view, site.layer), view.valid, counts, max(1, int(state["most"] * share)))

    def flops(self, host: Host, seen: Seen) -> Flops:
        llm, made = host.shape.llm, Flops()
        queries, groups = llm.heads * llm.head_dim, llm.kv_heads * llm.head_dim
        for layer in self.layers:
            keys = seen.reaching(layer)
            made += llm_rows(llm, 1, keys)
            if self.row == "next":
                formed = linear(llm.width, groups, keys, bias=False) + linear(
                    llm.width, queries, 1, bias=False
                )
                made += formed + each(RMS_NORM, keys, llm.width) + each(ROPE, keys, groups)
        return made
