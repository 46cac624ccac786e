"""CrossGET with its learned cross tokens, which carry what each modality should know of the other (arXiv:2305.17455).

Official code sdc17/CrossGET at dc32975, LLaVA folder. The matching alone, untrained, is `crossget`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunegrid.reduce.learned import Learned
from prunegrid.reduce.methods.crossget import CrossGET, soft_match
from prunegrid.reduce.methods.matching import join
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.probe import soft
from prunegrid.reduce.reducer import Host
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


class CrossTokens(nn.Module):
    """One learned vector per ViT layer that runs, [l, C], and one per LLM layer, [L, D]; all start at 0."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.image = nn.Parameter(torch.zeros(shape.vision.selected, shape.vision.width))
        self.text = nn.Parameter(torch.zeros(shape.llm.layers, shape.llm.width))


@dataclass(frozen=True)
class CrossGETTokens(Learned):
    """`keep` patches and the cross token at the ViT's output: 278 of 576 as released.

    A copy of CLS is appended to the patches; before every ViT layer that runs it is replaced by its own state, out
    of reach of gradients, + image[layer]. Before every LLM layer of prefill the first token of the prompt likewise
    gets text[layer]. Matching as in `crossget`, the cross token taking no part; importance = mean over all queries
    but the cross token's, + the cross token's own row. `agreement` is the loss that trains the vectors.
    """

    keep: int | float = 277
    proportional: bool = True

    @property
    def matching(self) -> CrossGET:
        return CrossGET(self.keep, self.proportional)

    def __post_init__(self) -> None:
        _ = self.matching  # refuses impossible budgets

    def build(self, shape: ModelShape) -> nn.Module:
        return CrossTokens(shape)

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        if shape.vision.prefix == 0:
            raise ValueError("CrossGETTokens: this vision tower has no class token to copy")
        inside = [
            replace(s, probe=Probe(s.probe.layers, None, keys=True))
            for s in self.matching.sites(shape)
            if s.probe
        ]
        prompt = [Site(Place.PROMPT, i) for i in range(shape.llm.layers)]
        return [Site(Place.IMAGE), *inside, *prompt]

    def edit(self, site: Site, hidden: Tensor, state: Host, valid: Tensor | None = None) -> Tensor:
        if site.place == Place.IMAGE:
            return hidden
        assert isinstance(state.module, CrossTokens) and site.layer is not None
        if site.place == Place.VISION:
            cross = hidden[:, -1:].detach() + state.module.image[site.layer]
            return torch.cat([hidden[:, :-1], cross], 1)
        assert valid is not None
        first = valid & (valid.long().cumsum(1) == 1)
        return torch.where(first[..., None], hidden.detach() + state.module.text[site.layer], hidden)

    def reduce(self, site: Site, view: TokenView, state: Host) -> Reduction | None:
        if site.place == Place.PROMPT:
            return None
        batch, count = view.size.shape
        if site.place == Place.IMAGE:
            keep = F.pad(view.index, (0, 1), value=-1)
            eye = torch.eye(count + 1, view.prefix.shape[1] + count, device=keep.device).roll(1, 1)
            eye[-1], eye[-1, 0] = 0, 1  # the last row is CLS
            return Reduction(keep, weights=eye.expand(batch, -1, -1), made=1)
        assert site.layer is not None
        r = count - 1 - self.matching.counts(state.shape)[site.layer]
        return None if r <= 0 else self._match(view, site.layer, r)

    @staticmethod
    def _match(view: TokenView, layer: int, r: int) -> Reduction:
        """Merge r patches; the cross token, last, stays last."""
        record, last = view.records[layer], view.size.shape[1] - 1
        cross = torch.tensor([record.query.shape[2] - 1], device=view.size.device)
        row = view.select(layer, soft(record.logits(cross)).mean((1, 2)))
        importance = (view.received(layer).mean(1) - row) / (record.query.shape[2] - 1) + row
        keep, group, share = soft_match(view.size[:, :-1], view.keys[layer][:, :, :-1], importance[:, :-1], r)
        keep, group = F.pad(keep, (0, 1), value=last), F.pad(group, (0, 1), value=keep.shape[1])
        return join(keep, group, F.pad(share, (0, 1), value=1.0))


def agreement(vision: Tensor, text: Tensor) -> Tensor:
    """Loss of cross tokens that say the same, vision and text [B, D] (both in the LLM's width): the mean of the two
    Kullback-Leibler divergences of their softmaxes to their average. Scalar; 0 where they agree."""
    p, q = vision.float().softmax(-1), text.float().softmax(-1)
    middle = ((p + q) / 2).log()
    return (F.kl_div(middle, p, reduction="batchmean") + F.kl_div(middle, q, reduction="batchmean")) / 2
