"""SparseVLM: text tokens that matter to the image rate it; what goes is recycled.

arXiv:2410.04417, version 1; official code Gumpest/SparseVLMs at 26a5f48.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from prunegrid.reduce.flops import SOFTMAX, Flops, Seen, each, llm_rows, product
from prunegrid.reduce.methods.dpc import dpc_knn
from prunegrid.reduce.ops import first, gather, raster
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.reducer import Host, Reducer, check_budget
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class SparseVLM(Reducer):
    """Raters: at the input of the language model, softmax over the text behind the image of (visual . text), mean
    over the visual tokens; text above the mean rates. At the inputs of LLM layers `layers` (the layer before has
    run) the score of a visual token is the attention that it gets from the raters there, mean over heads and
    raters; the `keep` highest stay. Of the pruned ones the best int(share * pruned) + 1 are put into
    int(. / 10) + 1 clusters (DPC-KNN) whose means stand behind the visual tokens and count as visual from then on.
    Positions are counted anew. `recycle: 0` drops all that is pruned. In a shallow model several stages may fall on
    one layer: the last of them acts.

    `keep` is the official table: 66, 30, 17 for "64" tokens (192: 300, 200, 110; 128: 303, 110, 36; 96: 238, 48,
    26); the paper's count from the rank of the attention is not in its code. Differs from the official code: no
    noise in the densities, so that the answer repeats; where no text stands out all text rates. Batches are free.
    [B, H, Q, N] rows of Q text tokens -> [B, N] -> keep [B, n + c], the c clusters last.
    Cost: 2 T^2 D for the raters, whose products are held, [B, T, T] in fp32 (2 N Q D needed); per stage 2 Q T D for
    the rows, 3 t^2 D and [B, t, t] distances for t recycled tokens, 2 (n + c) N D to mix. No sync; one per stage
    where pictures of a batch bring different numbers of tokens.
    """

    keep: Sequence[int] = (66, 30, 17)
    layers: Sequence[int] = (3, 7, 16)
    recycle: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers or len(self.layers) != len(self.keep):
            raise ValueError(f"SparseVLM: {len(self.layers)} layers, but {len(self.keep)} numbers to keep")
        if list(self.layers) != sorted(self.layers):
            raise ValueError(f"SparseVLM: layers={list(self.layers)} must rise")
        for count in self.keep:
            check_budget(int(count), "SparseVLM")
        if not 0 <= self.recycle < 1:
            raise ValueError(f"SparseVLM: recycle={self.recycle} must lie in [0, 1)")

    @property
    def stages(self) -> dict[int, int]:
        """LLM layer -> tokens kept there."""
        return {int(i): int(n) for i, n in zip(self.layers, self.keep, strict=True)}

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        if not 1 <= self.layers[0] <= self.layers[-1] < shape.llm.layers:
            raise ValueError(
                f"SparseVLM: layers={list(self.layers)} must lie in 1..{shape.llm.layers - 1}: each reads the "
                "layer before it"
            )
        stages = (
            Site(Place.PROMPT, i, Probe((i - 1,), "text"), positions="renumber")
            for i in dict.fromkeys(self.layers)  # on a shallow model stages may fall together
        )
        return (Site(Place.PROMPT, 0, scope="all"), *stages)

    def start(self, host: Host) -> dict[str, Tensor]:
        return {}

    def reduce(self, site: Site, view: TokenView, state: dict[str, Tensor]) -> Reduction | None:
        if site.layer == 0:
            state["raters"] = raters(view)
            return None
        assert site.layer is not None
        count = self.stages[site.layer]
        if view.tokens.shape[1] <= count:
            return None
        rows = view.attention(site.layer - 1).mean(1)  # [B, Q, N]
        real = view.attended[site.layer - 1].real
        who = state["raters"][:, : real.shape[1]] & real
        who = torch.where(who.any(1, keepdim=True), who, real)
        made = self.select(view, (rows * who[..., None]).sum(1), count)
        return replace(made, note={"text_rows": real.sum(1).float()})

    def flops(self, host: Host, seen: Seen) -> Flops:
        llm, length = host.shape.llm, seen.reaching(0)
        made = product(length, llm.width, length) + each(SOFTMAX, length, length)
        for layer, count in self.stages.items():
            made += llm_rows(llm, seen.notes.get("text_rows", 0), seen.prompt[layer - 1])
            pruned = seen.visual[layer - 1] - count
            if pruned > 0 and self.recycle:
                recycled = int(pruned * self.recycle) + 1
                made += each(3, recycled, recycled, llm.width)  # distances
                made += product(count + recycled // 10 + 1, seen.visual[layer - 1], llm.width)
        return made

    def select(self, view: TokenView, score: Tensor, count: int) -> Reduction:
        """The `count` best [B, N] and the means of the clusters of what is recycled."""
        batch, width = score.shape
        tokens = view.valid.sum(1)
        order = score.masked_fill(~view.valid, -torch.inf).argsort(dim=1, descending=True, stable=True)
        best, stays = raster(order[:, :count], view.valid.gather(1, order[:, :count]))
        assert stays is not None
        pruned = (tokens - count).clamp_min(0)
        recycled = ((pruned.double() * self.recycle).floor().long() + 1) * (pruned > 0) * (self.recycle > 0)
        clusters = (recycled // 10 + 1) * (recycled > 0)
        t = int((width - count) * self.recycle) + 1 if self.recycle else 0
        c = t // 10 + 1 if t else 0
        if t == 0:
            return Reduction(best, valid=None if view.full else stays)
        again = order[:, count : count + t]
        live = first(recycled, t)
        member = dpc_knn(gather(view.tokens, again), live, clusters, c)
        inside = (member[:, None] == torch.arange(c, device=member.device)[:, None]) & live[
            :, None
        ]  # [B, c, t]
        mean = inside / inside.sum(2, keepdim=True).clamp_min(1)
        weights = score.new_zeros(batch, count + c, width)
        weights[:, :count].scatter_(2, best[..., None], 1.0)
        weights[:, count:].scatter_(2, again[:, None].expand(-1, c, -1), mean.to(weights.dtype))
        group = torch.full((batch, width + 1), -1, device=score.device)
        slots = torch.arange(count, device=score.device).expand(batch, -1)
        group = group.scatter(1, best.masked_fill(~stays, width), slots)
        group = group.scatter(1, again.masked_fill(~live, width), count + member)
        new = torch.full((batch, c), -1, device=best.device)
        return Reduction(
            torch.cat([best, new], 1),
            weights,
            None if view.full else torch.cat([stays, first(clusters, c)], 1),
            group=group[:, :width],
            made=c,
        )


def raters(view: TokenView) -> Tensor:
    """bool [B, N]: which of the text tokens behind the image, in order, rate; the rest is False. The view holds all
    tokens. All pairs are multiplied (2 N^2 D): to take out the few of them would ask the device for their number."""
    text = view.valid & ~view.visual & (view.visual.long().cumsum(1) > 0)
    seen = view.visual & view.valid
    words = (~text).to(torch.int8).argsort(dim=1, stable=True)  # text first, in order
    is_word = text.gather(1, words)
    x = view.tokens.float()
    products = x @ gather(x, words).transpose(1, 2)
    share = torch.nan_to_num(products.masked_fill(~is_word[:, None], -torch.inf).softmax(2))
    score = (share * seen[..., None]).sum(1) / seen.sum(1, keepdim=True).clamp_min(1)
    mean = (score * is_word).sum(1, keepdim=True) / is_word.sum(1, keepdim=True).clamp_min(1)
    return is_word & (score > mean)
