"""CrossGET with its learned cross tokens, which carry what each modality should know of the other (arXiv:2305.17455).

Official code sdc17/CrossGET at dc32975, LLaVA folder. The matching alone, untrained, is `crossget`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunegrid.reduce.flops import Flops, Seen, each, product, vit_rows
from prunegrid.reduce.learned import Learned
from prunegrid.reduce.methods.crossget import CrossGET, soft_match
from prunegrid.reduce.methods.matching import join, merged
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


@dataclass
class Run:
    """State of one call: the cross tokens as they entered each layer, image [B, C] and text [B, D]."""

    shape: ModelShape
    vectors: CrossTokens
    image: list[Tensor] = field(default_factory=list)
    text: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class CrossGETTokens(Learned):
    """`keep` patches and the cross token at the ViT's output: 278 of 576 as released.

    A copy of CLS is appended to the patches; before every ViT layer that runs it is replaced by its own state, out
    of reach of gradients, + image[layer]. Before every LLM layer of prefill the first token of the prompt likewise
    gets text[layer]. Matching as in `crossget`, the cross token taking no part; importance = mean over all queries
    but the cross token's, + the cross token's own row.

    The loss of its own is `agreement` of the image's cross tokens, projected, and the text's, as they enter their
    layers, each vision layer beside its share of the LLM's. Weight in the official code: 0.001 for 7B, 0.1 for 13B.
    Its 24th image vector, of the layer behind what LLaVA reads, serves that loss alone and is left out here.

    [B, N, C] -> [B, n + 1, C], the cross token last.
    Cost: 2 N^2 C once, as a dense matrix appends the copy; then per layer what `crossget` costs, with the cross
    token's row for that of CLS; one vector added per layer. No sync.
    """

    keep: int | float = 277
    proportional: bool = True

    @property
    def matching(self) -> CrossGET:
        return CrossGET(self.keep, self.proportional)

    def __post_init__(self) -> None:
        super().__post_init__()
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

    def start(self, host: Host) -> Run:
        assert isinstance(host.module, CrossTokens)
        return Run(host.shape, host.module)

    def edit(self, site: Site, hidden: Tensor, state: Run, valid: Tensor | None = None) -> Tensor:
        if site.place == Place.IMAGE:
            return hidden
        assert site.layer is not None
        if site.place == Place.VISION:
            state.image.append(hidden[:, -1].detach() + state.vectors.image[site.layer])
            return torch.cat([hidden[:, :-1], state.image[-1][:, None].to(hidden.dtype)], 1)
        assert valid is not None
        first = valid & (valid.long().cumsum(1) == 1)
        own = hidden.detach().gather(1, first.long().argmax(1)[:, None, None].expand(-1, 1, hidden.shape[2]))
        state.text.append(own[:, 0] + state.vectors.text[site.layer])
        return torch.where(first[..., None], state.text[-1][:, None].to(hidden.dtype), hidden)

    def loss(self, state: Run, project: Callable[[Tensor], Tensor]) -> Tensor | None:
        if not state.image:
            return None
        beside = partners(len(state.image), len(state.text))
        return agreement(project(torch.stack(state.image))[beside], torch.stack(state.text))

    def reduce(self, site: Site, view: TokenView, state: Run) -> Reduction | None:
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

    def flops(self, host: Host, seen: Seen) -> Flops:
        vision, llm = host.shape.vision, host.shape.llm
        patches = seen.vision[0] - vision.prefix - 1
        made = product(patches + 1, vision.prefix + patches, vision.width)
        made += each(1, vision.selected, vision.width) + each(1, llm.layers, llm.width)
        for i, _ in enumerate(self.matching.counts(host.shape)):
            if seen.mlp[i] < seen.vision[i]:
                n = seen.vision[i] - vision.prefix - 1
                made += vit_rows(vision, seen, i, queries=None) + vit_rows(vision, seen, i)
                made += merged(n, vision.width, vision.heads, n * n)
        return made

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


def partners(vision: int, text: int) -> list[int]:
    """The vision layer beside each LLM layer: in order, each vision layer for as even a share of them as whole numbers
    allow."""
    return [i for i in range(vision) for _ in range((i + 1) * text // vision - i * text // vision)]


def agreement(vision: Tensor, text: Tensor) -> Tensor:
    """Loss of cross tokens that say the same, vision and text [.., D] (both in the LLM's width): the mean of the two
    Kullback-Leibler divergences from the average of their softmaxes to each, mean over tokens. Scalar fp32; 0 where
    they agree. Direction as in the official code (modeling_llama.py)."""
    p, q = (x.flatten(0, -2).float().log_softmax(-1) for x in (vision, text))
    middle = (p.exp() + q.exp()) / 2
    return (F.kl_div(p, middle, reduction="batchmean") + F.kl_div(q, middle, reduction="batchmean")) / 2
