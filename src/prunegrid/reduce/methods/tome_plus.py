"""ToMe+: ToMe goes on in the language model. Baseline of IVTP (ECCV 2024), Table 7, which has no code and no details."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prunegrid.reduce.flops import Flops, Seen
from prunegrid.reduce.methods.matching import merged
from prunegrid.reduce.methods.tome import ToMe, bipartite
from prunegrid.reduce.methods.vit_schedule import capped, linear
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.reducer import Host, Reducer, budget, check_budget
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class ToMePlus(Reducer):
    """ToMe in the ViT down to `entering` tokens; then, at the inputs of LLM layers `layers`, the same bipartite
    matching among the visual tokens by the head-mean keys of the layer before (after rotation), the same number
    each, down to `keep`. Size-weighted means; text takes no part; a merged token stands where its destination stood.

    The paper says no more than that merging goes on in the first 12 LLM layers. `entering` is what IVTP's own
    schedule hands over, so that the two cost the same. Two layers that a shallow model lets fall together are one.
    Keys [B, H, N, Dh] -> keep [B, N - r].
    Cost: that of `tome` in the ViT; per LLM layer, for N visual tokens, N^2 Dh / 2 for the similarities, held as
    [B, N/2, N/2], and 2 N D to mix. No sync.
    """

    keep: int | float = 64
    entering: int | float = 133
    layers: Sequence[int] = tuple(range(1, 13))
    proportional: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_budget(self.keep, "ToMePlus")
        check_budget(self.entering, "ToMePlus")

    @property
    def first(self) -> ToMe:
        return ToMe(self.entering, proportional=self.proportional)

    def counts(self, shape: ModelShape) -> dict[int, int]:
        """LLM layer -> visual tokens that enter it."""
        layers = sorted(set(self.layers))
        if not layers or not 1 <= layers[0] <= layers[-1] < shape.llm.layers:
            raise ValueError(
                f"ToMePlus: layers={list(self.layers)} must lie in 1..{shape.llm.layers - 1}: each reads the layer before"
            )
        patches = shape.vision.patches
        start, keep = (budget(n, patches, "ToMePlus") for n in (self.entering, self.keep))
        if keep > start:
            raise ValueError(f"ToMePlus: keep={self.keep} must not exceed entering={self.entering}")
        return dict(zip(layers, capped(linear(start, keep, len(layers)), start, "ToMePlus"), strict=True))

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        inside = [Site(Place.PROMPT, i, Probe((i - 1,), None, keys=True)) for i in self.counts(shape)]
        return [*self.first.sites(shape), *inside]

    def reduce(self, site: Site, view: TokenView, state: Host) -> Reduction | None:
        if site.place == Place.VISION:
            return self.first.reduce(site, view, state)
        assert site.layer is not None
        r = view.tokens.shape[1] - self.counts(state.shape)[site.layer]
        return None if r <= 0 else bipartite(view, view.keys[site.layer - 1], r)

    def flops(self, host: Host, seen: Seen) -> Flops:
        llm, made = host.shape.llm, self.first.flops(host, seen)
        for i in self.counts(host.shape):
            n = seen.visual[i - 1]
            if seen.visual[i] < n:
                made += merged(n, llm.heads * llm.head_dim, llm.heads, (n // 2) * (n - n // 2))
        return made
