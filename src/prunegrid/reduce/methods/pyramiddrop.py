"""PyramidDrop: visual tokens halve at three depths of the language model (arXiv:2410.17247)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from prunegrid.reduce.methods.schedule import highest
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.reducer import Host, Reducer, check_budget
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class PyramidDrop(Reducer):
    """At the inputs of LLM layers `layers` keep the shares `keep` of the ORIGINAL visual tokens, rounded down
    (576 -> 288, 144, 72), by the last prompt token's attention: mean over heads of its row, [B, H, 1, N] -> [B, N].
    Positions of all tokens behind are counted anew at each stage, as released (`positions: keep` leaves them).

    Differs from the official code: it forms the row with the queries and keys of the layer that is about to run,
    for all tokens and once more than needed; here the row is that of the layer that has just run. Right padding
    and a Python loop over samples there, any batch here. Cost: one row per stage, 2 T D FLOPs.
    """

    layers: Sequence[int] = (8, 16, 24)
    keep: Sequence[float] = (0.5, 0.25, 0.125)
    positions: Literal["renumber", "keep"] = "renumber"

    def __post_init__(self) -> None:
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
        if self.positions not in ("renumber", "keep"):
            raise ValueError(f"PyramidDrop: positions={self.positions!r} must be 'renumber' or 'keep'")

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        if not 1 <= self.layers[0] <= self.layers[-1] < shape.llm.layers:
            raise ValueError(
                f"PyramidDrop: layers={list(self.layers)} must lie in 1..{shape.llm.layers - 1}: each reads the "
                "layer before it"
            )
        return tuple(
            Site(Place.PROMPT, layer, Probe((layer - 1,), "last"), positions=self.positions)
            for layer in self.layers
        )

    def start(self, host: Host) -> dict[str, Any]:
        return {}

    def score(self, view: TokenView, layer: int) -> Tensor:
        """[B, N] fp32."""
        return view.attention(layer - 1).mean(1).squeeze(1)

    def reduce(self, site: Site, view: TokenView, state: dict[str, Any]) -> Reduction:
        assert site.layer is not None
        if not state:
            state.update(counts=view.valid.sum(1), most=view.tokens.shape[1])
        share = self.keep[list(self.layers).index(site.layer)]
        counts = (state["counts"].double() * share).floor().long().clamp_min(1)
        return highest(self.score(view, site.layer), view.valid, counts, max(1, int(state["most"] * share)))
