"""CDPruner: visual tokens that are relevant to the question AND unlike each other: a determinantal point process.

Conditional diversity maximisation, arXiv:2506.10967; official code Theia-4869/CDPruner at 9541616.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from prunegrid.reduce.flops import Flops, Seen, each, product, unit
from prunegrid.reduce.methods.keywords import Scope, asked, read
from prunegrid.reduce.ops import raster
from prunegrid.reduce.places import Place, Site
from prunegrid.reduce.reducer import Host, Reducer, budget, check_budget
from prunegrid.reduce.text import TextTower
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape

NOISE = 1e-7  # of the largest gain: below it fp32 holds rounding alone


@dataclass
class Run:
    """State of one call."""

    tower: TextTower | None
    relevance: Tensor | None = None  # [B, N] in [0, 1]


@dataclass(frozen=True)
class CDPruner(Reducer):
    """`keep` tokens in raster order. Relevance of a patch = MINUS the cosine of visual_projection(post_layernorm(patch))
    and CLIP's sentence vector of the question, mean over its windows of text, then min-max normalised with 1e-6 added
    (the sign: CLIP's patch features are anti-correlated with what they show). Kernel L = rel_i cos(i, j) rel_j over the
    PROJECTED features; the greedy MAP of its DPP adds the token that raises det(L_S) most, again and again.

    `text`: of the user's turn, or of all the prompt. `extent` of the minimum and maximum: sample = each picture's own;
    batch = the official code's, where the answer depends on what else is in the batch. Also different from it: a long
    text is cut into windows of 75 tokens with begin and end each (there: cut every 77, most pieces without an end); in
    a batch each picture has its own text (there: the mean over all texts of the batch); a kernel whose rank is used up
    leaves its order to the remaining gains (there: NaN). fp32, batched. Gains below about 1e-6 of the first are rounding:
    from there on (about 45 of 144 tokens of the mini model) the choice may differ from batch to batch.
    [B, N, C] features, [B, N, D] tokens -> keep [B, n].
    Cost: 2 N^2 D for the kernel, [B, N, N] in fp32, n^2 N for the n steps; the text tower once per 75 tokens; 2 N C E
    to project all patches to CLIP's joint width E. No sync.
    """

    keep: int | float = 64
    text: Scope = "turn"
    extent: Literal["sample", "batch"] = "sample"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_budget(self.keep, "CDPruner")

    @property
    def reads_text(self) -> bool:
        return True

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        budget(self.keep, shape.visual_tokens, "CDPruner")
        return (Site(Place.FEATURES), Site(Place.EMBEDS))

    def start(self, host: Host) -> Run:
        return Run(host.text)

    def reduce(self, site: Site, view: TokenView, state: Run) -> Reduction | None:
        if site.place == Place.FEATURES:
            state.relevance = self.relevance(view, state.tower)
            return None
        assert state.relevance is not None
        n = budget(self.keep, view.tokens.shape[1], "CDPruner")
        unit = F.normalize(view.tokens.detach().float(), dim=-1)
        relevance = state.relevance
        kernel = relevance[:, :, None] * (unit @ unit.transpose(1, 2)) * relevance[:, None]
        return Reduction(raster(greedy(kernel, view.valid, n))[0])

    def relevance(self, view: TokenView, tower: TextTower | None) -> Tensor:
        """[B, N] fp32, 1e-6 and more, 1 (and 1e-6) at most."""
        if len(view.prompt) != len(view.tokens):
            raise ValueError(
                "CDPruner: it reads the prompts' texts, but none were given: generate(..., prompt=[...])"
            )
        assert tower is not None, "ReducedVLM checks reads_text"
        patches = F.normalize(tower.image(view.tokens.detach()), dim=-1)
        windows = [F.normalize(t.pooled, dim=-1).mean(0) for t in read(tower, view.prompt, self.text)]
        against = -(patches @ torch.stack(windows)[..., None]).squeeze(2)
        over = (1,) if self.extent == "sample" else (0, 1)
        low = against.masked_fill(~view.valid, torch.inf).amin(over, keepdim=True)
        high = against.masked_fill(~view.valid, -torch.inf).amax(over, keepdim=True)
        return (against - low + 1e-6) / (high - low).clamp_min(1e-6)

    def flops(self, host: Host, seen: Seen) -> Flops | None:
        if host.text is None or seen.text is None:
            return None
        n, width, kept = seen.projector, host.shape.projector.outputs, seen.visual[0]
        joint = host.text.joint
        made = host.text.reading(seen.text.text[slice(*asked(seen.text, self.text))])
        made += host.text.placing(n) + unit(n, joint) + product(n, joint, 1)
        made += unit(n, width) + product(n, width, n) + each(2, n, n)
        return made + product(1, kept * (kept - 1) / 2, n) + each(5, kept, n)


def greedy(kernel: Tensor, valid: Tensor, n: int) -> Tensor:
    """kernel [B, N, N] -> int [B, n] in order of choice: each raises the determinant of the chosen block most. One row
    of its Cholesky factor per step; the earlier token where gains are equal."""
    batch, tokens = valid.shape
    rows = torch.arange(batch, device=kernel.device)
    factor = kernel.new_zeros(batch, n, tokens)
    gain = kernel.diagonal(dim1=1, dim2=2).clone()
    floor = NOISE * gain.amax(1)
    gain = gain.masked_fill(~valid, -torch.inf)
    picks = []
    for i in range(n):
        pick = gain.argmax(1)
        best = gain[rows, pick]
        known = (factor[rows, :i, pick][:, None] @ factor[:, :i]).squeeze(1)
        row = (kernel[rows, pick] - known) * (best.clamp_min(0) + floor * (best <= floor)).rsqrt()[:, None]
        factor[:, i] = torch.where((best > floor)[:, None], row, 0)
        gain = (gain - factor[:, i].square()).index_put((rows, pick), kernel.new_tensor(-torch.inf))
        picks.append(pick)
    return torch.stack(picks, 1)
