"""FastV: one prune inside the language model, by the last token's attention.

arXiv:2403.06764; official code pkunlp-icler/FastV at d165972.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from prunegrid.reduce.flops import Flops, Seen, llm_rows
from prunegrid.reduce.methods.schedule import fixed, highest, share_of
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.reducer import Host, ScoreReducer, budget
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class FastV(ScoreReducer):
    """At the input of LLM layer `layer` (K) keep the visual tokens with the highest attention in layer K - 1.

    released: score_j = mean over heads of A[last prompt token, j]. paper: the average over ALL queries of what j
    receives; the factor 1 / T does not change the order. [B, H, 1 or T, N] -> [B, N]; survivors stay in order and
    keep their RoPE positions.

    The official code finds the image at a hard-coded offset (three scripts, three offsets), scores sample 0 for
    the whole batch, and runs layer K - 1 twice in one of its versions; here the placeholders tell, each sample
    has its own scores, and every layer runs once. KV caches of layers below K keep all tokens.
    Cost: one row, 2 T D (released); the attention of layer K - 1 once more, block by block, 2 T^2 D (paper). No sync;
    one where pictures of a batch bring different numbers of tokens.
    """

    keep: int | float = 0.5
    layer: int = 2
    variant: Literal["released", "paper"] = "released"
    rounding: Literal["nearest", "down"] = "nearest"

    def __post_init__(self) -> None:
        super().__post_init__()

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        if not 1 <= self.layer < shape.llm.layers:
            raise ValueError(
                f"FastV: layer={self.layer} must lie in 1..{shape.llm.layers - 1}: the layer before it is read"
            )
        queries: Any = "last" if self.variant == "released" else None
        return (Site(Place.PROMPT, self.layer, Probe((self.layer - 1,), queries)),)

    def score(self, view: TokenView) -> Tensor:
        if self.variant == "paper":
            return view.received(self.layer - 1).mean(1)
        return view.attention(self.layer - 1).mean(1).squeeze(1)

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction:
        count = view.tokens.shape[1]
        most = budget(self.keep, count, "FastV")
        if view.full:
            whole = math.floor if self.rounding == "down" else round
            n = most if isinstance(self.keep, int) else max(1, whole(count * self.keep))
            return fixed(self.score(view), n)
        if isinstance(self.keep, int):
            counts = torch.full((len(view.tokens),), most, device=view.valid.device)
        else:
            counts = share_of(view.valid, self.keep, whole=self.rounding == "down")
        return highest(self.score(view), view.valid, counts, most)

    def flops(self, host: Host, seen: Seen) -> Flops:
        keys = seen.prompt[self.layer - 1]
        return llm_rows(host.shape.llm, 1 if self.variant == "released" else keys, keys)
