"""VTIP: prune in the ViT at the bend of the sorted class similarities, then bound the KV cache.

"Balancing Performance and Efficiency: A Multimodal Large Language Model Pruning Method based Image Text Interaction"
(arXiv:2409.01162), section "Method", Eqs. 1 to 3. No official code exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from prunegrid.reduce.flops import SOFTMAX, Flops, Seen, each, product, vit_rows
from prunegrid.reduce.methods.h2o import H2O, Memory
from prunegrid.reduce.methods.schedule import fixed, geometric, highest
from prunegrid.reduce.ops import span
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.probe import Record
from prunegrid.reduce.reducer import Host, Reducer, budget, check_budget
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape

ADAPTIVE = ("progressive", "bend", "shifted", "literal")


@dataclass
class Budgeted(Memory):
    """The second stage's memory, and what a fixed-k twin keeps: ViT layer -> patches."""

    counts: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class VTIP(Reducer):
    """Stage 1 sorts the CLS token's similarity to the n patches, d_1 >= ... >= d_n, and finds the bend
    i* = argmax over 1 <= i < n of (n - i)(d_1 - d_i) / (d_1 - d_n). The paper multiplies i* by alpha = 0.075,
    which cannot give its own counts (43 at most, 127 stated), so `reading` says what alpha means:

    progressive (H1): after EVERY ViT layer that follows the first `after`, drop the round(alpha (n - i*)) lowest;
    20 layers in LLaVA-1.5, about 22 % of the patches left on any long-tailed curve. The others act once, after
    layer number `after`: bend (H2) keeps i*, shifted (H3) i* + round(alpha n), literal (H4) round(alpha i*).
    The fixed-k twins keep `keep` patches of every picture by the same score at the same place: once = all after
    layer number `after`; spread = the same share after every layer that progressive acts at.
    At least 1 patch stays, in raster order; the CLS always. If all d are equal there is no bend: i* = n.

    `similarity`: attention = softmax per head, then the mean over heads, of the layer just run; joined = one
    softmax of q . k with heads concatenated; hidden = one softmax of the hidden states' dot products.
    Stage 2 is H2O with the N = `heavy` best and the M = `recent` last tokens; `prefill` says what it does to the
    prompt. full: nothing, as the published counts have it: both are shares, and the cache is held at the length of
    the prompt (0.5 and 0.5: 2 int(L / 2)) or above. The prose prunes "before feeding into LLM"; for that
    cache: each layer's cache keeps M + N tokens, or shares of the prompt, from the end of prefill on, by the attention
    of that layer, per head or shared; prefill costs what it did, what follows reads less.
    tokens: the prompt itself is cut to M + N (both ints) at the input of LLM layer 0, positions as they were; then
    the cache holds as many. No attention is there yet: what token j is worth is the sum over later tokens i of
    softmax over j < i of (x_i . x_j / sqrt(D)), x what enters the language model, "the similarity between each
    token and all preceding tokens". `scope` visual: all tokens look, only visual ones count and go.

    [B, H, 1, N] rows -> d [B, N] -> keep, valid [B, n].
    Cost: per layer one CLS row (2 N C; hidden: as much once more) and a sort of N numbers; the ViT itself shrinks.
    Stage 2: see h2o.py; tokens: 2 T^2 D, block by block. One sync per ViT layer for the ragged counts (the twins:
    none), one for the cut of tokens; in the cache as h2o.
    """

    stages: Literal["both", "first", "second"] = "both"
    after: int = 3
    alpha: float = 0.075
    reading: Literal["progressive", "bend", "shifted", "literal", "once", "spread"] = "progressive"
    keep: int | float | None = None  # once and spread only
    similarity: Literal["attention", "joined", "hidden"] = "attention"
    heavy: int | float = 0.5
    recent: int | float = 0.5
    heads: Literal["each", "shared"] = "each"
    scope: Literal["all", "visual"] = "all"
    prefill: Literal["full", "cache", "tokens"] = "full"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.alpha <= 1:
            raise ValueError(f"VTIP: alpha={self.alpha} must lie in (0, 1]")
        if (self.keep is None) != (self.reading in ADAPTIVE):
            need = "finds its own number, give no keep" if self.keep else "needs keep: tokens, or a share"
            raise ValueError(f"VTIP: reading={self.reading!r} {need}")
        if self.keep is not None:
            check_budget(self.keep, "VTIP")
        _ = self.cache  # refuses impossible budgets
        self._check_prefill()

    def _check_prefill(self) -> None:
        who, shares = f"VTIP: heavy={self.heavy}, recent={self.recent}", (float, float)
        kinds = (type(self.heavy), type(self.recent))
        if self.prefill == "full" and (kinds != shares or self.heavy + self.recent < 1 - 1e-9):
            raise ValueError(
                f"{who} may cut the prompt: say prefill=cache or prefill=tokens, or give shares that sum to 1"
            )
        if self.prefill == "tokens" and float in kinds:
            raise ValueError(
                f"{who} must be ints with prefill=tokens: a share of a prompt that is cut says two things"
            )
        if self.prefill == "tokens" and self.scope == "all" and self.recent < 1:
            raise ValueError(f"{who}: prefill=tokens needs recent of at least 1: the last token speaks next")

    @property
    def cache(self) -> H2O:
        """Stage 2."""
        return H2O(self.heavy, self.recent, self.heads, self.scope)

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        first: list[Site] = []
        if self.stages != "second":
            if shape.vision.prefix == 0:
                raise ValueError("VTIP: this vision tower has no class token, whose similarities it sorts")
            last = shape.vision.selected - 1  # whose output LLaVA reads
            progressive = self.reading in ("progressive", "spread")
            if not 1 <= self.after <= last + 1 - progressive:
                raise ValueError(f"VTIP: after={self.after} must lie in 1..{last + 1 - progressive}")
            layers = range(self.after, last + 1) if progressive else (self.after - 1,)
            first = [Site(Place.VISION, i, Probe((i,))) for i in layers]
            self._counts(shape, first)  # refuses a budget beyond the model's patches
        if self.stages == "first":
            return first
        cut = (Site(Place.PROMPT, 0, scope="all"),) if self.prefill == "tokens" else ()
        return (*first, *cut, *self.cache.sites(shape))

    def _counts(self, shape: ModelShape, sites: Sequence[Site]) -> dict[int, int]:
        """ViT layer -> patches left after it, for the fixed-k twins."""
        if self.keep is None:
            return {}
        patches, layers = (
            shape.vision.patches,
            [s.layer for s in sites if s.place == Place.VISION and s.layer is not None],
        )
        left = geometric(patches, budget(self.keep, patches, "VTIP"), len(layers)) if layers else []
        return dict(zip(layers, left, strict=True))

    def start(self, host: Host) -> Memory:
        return Budgeted(counts=self._counts(host.shape, self.sites(host.shape)))

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction | None:
        if site.place == Place.CACHE:
            return self.cache.reduce(site, view, state)
        if site.place == Place.PROMPT:
            return self.cut(view)
        assert site.layer is not None
        score = self.score(view, site.layer)
        if self.keep is not None:
            return fixed(score, min(state.counts[site.layer], score.shape[1]))
        bend = inflection(score, view.valid)
        counts = kept(view.valid.sum(1), bend, self.alpha, self.reading)
        most, ragged = span(counts)
        r = highest(score, view.valid, counts, most)
        return Reduction(r.keep, valid=r.valid, note={f"bend{site.layer}": bend.float()}, ragged=ragged)

    def score(self, view: TokenView, layer: int) -> Tensor:
        """[B, N] fp32."""
        if self.similarity == "attention":
            return view.attention(layer).mean(1).squeeze(1)
        if self.similarity == "joined":
            logits = view.logits(layer)
            joined = view.select(layer, logits.sum(1) * logits.shape[1] ** -0.5).squeeze(1)
        else:
            joined = (view.tokens.float() @ view.prefix[:, 0, :, None].float()).squeeze(2)
            joined = joined * view.tokens.shape[2] ** -0.5
        return torch.nan_to_num(joined.masked_fill(~view.valid, -torch.inf).softmax(1))

    def cut(self, view: TokenView) -> Reduction | None:
        """The prompt's `heavy` best and `recent` last tokens in scope; the view holds all tokens."""
        batch, length = view.valid.shape
        if length <= self.heavy + self.recent:
            return None
        scope = view.valid if self.scope == "all" else view.valid & view.visual
        after = scope.sum(1, keepdim=True) - scope.long().cumsum(1)  # tokens in scope behind this one
        recent = scope & (after < self.recent)
        score = importance(view.tokens, view.valid).masked_fill(~scope | recent, -torch.inf)
        rank = score.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        stays = view.valid & ~scope | recent | scope & (rank < self.heavy)
        place = torch.arange(length, device=stays.device).expand(batch, -1)
        tokens = view.valid.sum(1)
        weighed = tokens * (tokens > self.heavy + self.recent)  # alone, a short prompt is not looked at
        return Reduction(place, valid=stays, note={"weighed": weighed.float()})

    def flops(self, host: Host, seen: Seen) -> Flops:
        vision, made = host.shape.vision, Flops()
        for site in self.sites(host.shape):
            if site.place == Place.VISION and site.layer is not None:
                made += vit_rows(vision, seen, site.layer)
                if self.similarity == "hidden":
                    made += product(1, vision.width, seen.vision[site.layer] - vision.prefix)
        before = max(0, seen.notes.get("weighed", 0) - 1)  # tokens that look, and that are looked at
        made += product(before, host.shape.llm.width, before) + each(SOFTMAX, before, before)
        return made if self.stages == "first" else made + self.cache.flops(host, seen)


def inflection(score: Tensor, valid: Tensor) -> Tensor:
    """score, valid [B, N] -> int [B]: the 1-based bend of each sample's n valid scores; the smallest i where
    several are best, n where all are equal. Nothing depends on the scale or offset of the scores."""
    d = score.double().masked_fill(~valid, -torch.inf).sort(dim=1, descending=True).values
    n = valid.sum(1, keepdim=True)
    place = torch.arange(1, d.shape[1] + 1, device=d.device)
    first, last = d[:, :1], d.gather(1, (n - 1).clamp_min(0))
    gain = ((n - place) * (first - d)).masked_fill(place >= n, -1.0)
    best = gain.argmax(1) + 1
    return torch.where(((first == last) | (n < 2)).squeeze(1), n.squeeze(1), best)


def importance(tokens: Tensor, valid: Tensor) -> Tensor:
    """tokens [B, N, D], valid [B, N] (real ones first) -> [B, N] fp32: how similar later tokens are to each, every one
    of them sharing out 1 over those before it; 0 for padding."""
    if tokens.shape[1] < 2:
        return torch.zeros_like(valid, dtype=torch.float32)
    x, seen = tokens[:, None].detach(), valid[:, None, None, 1:]
    # Row i is token i + 1, which may look at 0..i: causal attention of the tokens to those one place before.
    pairs = Record(x[:, :, 1:], x[:, :, :-1], x[:, :, :-1], seen, None, tokens.shape[2] ** -0.5, True)
    return F.pad(pairs.received()[:, 0], (0, 1))


def kept(n: Tensor, bend: Tensor, alpha: float, reading: str) -> Tensor:
    """int [B]: patches that one application leaves of n."""
    if reading == "progressive":
        count = n - (alpha * (n - bend).double()).round().long()
    elif reading == "bend":
        count = bend
    elif reading == "shifted":
        count = bend + (alpha * n.double()).round().long()
    else:
        count = (alpha * bend.double()).round().long()
    return torch.minimum(count.clamp_min(1), n)
