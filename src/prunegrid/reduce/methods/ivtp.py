"""IVTP: group-wise pruning in the ViT and in the language model.

"IVTP: Instruction-guided Visual Token Pruning for Large Vision-Language Models" (Huang et al., ECCV 2024), sections 3.2
(Eqs. 2 to 4), 3.3 (Eqs. 5 to 8) and 3.4. No official code exists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from prunegrid.reduce.flops import Flops, Seen, each, product, pushed, vit_rows
from prunegrid.reduce.methods.pseudo_cls import PseudoCls, Selection, passing
from prunegrid.reduce.methods.rollout import Observer, class_token, ghost_token, value_norms
from prunegrid.reduce.methods.schedule import geometric, linear
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.reducer import Host, Reducer, budget, check_budget
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape

Groups = list[tuple[int, ...]]


@dataclass
class Run:
    """State of one call: how many stay at each site, and the pseudo-CLS."""

    counts: Mapping[Site, int]
    pseudo: PseudoCls
    told: bool = False


@dataclass(frozen=True)
class IVTP(Reducer):
    """After the top layer of each group of `group` layers ("all": one group) the visual tokens with the lowest
    S_i = R_cls,i ||V_i|| go; nothing is fused; raster order, and positions, stay. R is the rollout over the group,
    R^l = (A^l + I) R^(l-1) from R^l1 = A^l1, A the mean over heads of the softmax over ALL tokens; V are the
    values of the top layer, heads concatenated. Stage 1 covers the ViT and follows its CLS. Stage 2 covers the first
    `layers` LLM layers and follows a textual pseudo-CLS between visual and text tokens.

    `stages`: both; first = IVTP-V of Table 7; second. `attention`, Table 4: rollout; single = the row of the group's
    top layer ("group-wise"); layerwise = the same after every layer. `aggregation`, Table 5 (rollout only): residual
    = the above; mean, max, multiply = of the group's rows, element by element. `group`: Table 8; one that does not
    fill up at the top is shorter. `values: false` leaves ||V|| out.
    `schedule`: ratio = every prune keeps the same share, (keep / N)^(1 / prunes) of both stages together: 576 -> 133
    in 8 prunes, -> 64 in 4; number = every prune drops the same number. The published FLOPs fit ratio alone.
    `middle`: tokens that enter the language model, each stage then with a schedule of its own.
    `ott`, `te`, `rt`, Table 6: see Selection. `tau`: the threshold; `text`: of the user's turn, or of all the prompt.
    CLIP's token vectors are compared with the image embedding of the pruned run; texts beyond 75 CLIP tokens are read
    in windows. No token above tau: the projected visual CLS. `pseudo`: carried = made of layer-0 embeddings, then its
    own residual stream; rebuilt = the mean of the key tokens' hidden states at every layer.
    LLaVA reads the layer before the last. `peek`: the last ViT group still ends at the last layer, whose queries,
    keys and values over those features score them; without it the groups cover the layers that LLaVA reads.

    Trace: the share of the turn's tokens >= tau (`text_share`) and the key tokens themselves.
    [B, H, 1, K] rows -> [B, N]; all samples keep the same number.
    Cost: per ViT layer that scores one CLS row (2 N C); for those of a group below its top, in both towers, their
    attention once more, block by block (2 N^2 C, 2 T^2 D) - the paper's products of N x N matrices are never formed;
    one more token through the covered LLM layers; what is read of the ViT's last layer; the text tower once per 75
    tokens. No sync.
    """

    keep: int | float = 64
    stages: Literal["both", "first", "second"] = "both"
    group: int | Literal["all"] = 3
    layers: int = 12
    attention: Literal["rollout", "single", "layerwise"] = "rollout"
    aggregation: Literal["residual", "mean", "max", "multiply"] = "residual"
    values: bool = True
    schedule: Literal["ratio", "number"] = "ratio"
    middle: int | None = None
    peek: bool = True
    ott: bool = True
    te: bool = True
    rt: bool = True
    tau: float = 0.2
    text: Literal["turn", "all"] = "turn"
    pseudo: Literal["carried", "rebuilt"] = "carried"
    positions: Literal["keep", "renumber"] = "keep"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_budget(self.keep, "IVTP")
        if self.group != "all" and self.group < 1:
            raise ValueError(f"IVTP: group={self.group!r} must be a number of layers, at least 1, or 'all'")
        if self.aggregation != "residual" and self.attention != "rollout":
            raise ValueError(
                f"IVTP: aggregation={self.aggregation!r} needs several layers: attention='rollout'"
            )
        if self.middle is not None and self.stages != "both":
            raise ValueError(f"IVTP: middle={self.middle} lies between two stages: stages='both'")
        _ = self.selection  # refuses impossible switches

    @property
    def selection(self) -> Selection:
        return Selection(self.ott, self.te, self.rt, self.tau, self.text)

    @property
    def reads_text(self) -> bool:
        return self.stages != "first" and self.te

    def groups(self, shape: ModelShape) -> Groups:
        """The ViT layers of each group, from the bottom up."""
        if self.stages == "second":
            return []
        read = shape.vision.selected  # layers that run before LLaVA reads
        layers = min(shape.vision.layers, read + 1) if self.peek else read
        if self.group != "all" and self.attention != "layerwise" and self.group > layers:
            raise ValueError(f"IVTP: group={self.group} is more than the {layers} ViT layers there are")
        return self._split(layers)

    def language_groups(self, shape: ModelShape) -> Groups:
        """The LLM layers of each group; where `layers` are fewer than a group they are one."""
        if self.stages == "first":
            return []
        if not 1 <= self.layers < shape.llm.layers:
            raise ValueError(
                f"IVTP: layers={self.layers} must lie in 1..{shape.llm.layers - 1}: what goes behind the last of the "
                f"{shape.llm.layers} LLM layers changes nothing"
            )
        return self._split(self.layers)

    def _split(self, layers: int) -> Groups:
        size = 1 if self.attention == "layerwise" else layers if self.group == "all" else self.group
        return [tuple(range(a, b)) for a, b in pairwise([*range(0, layers, size), layers])]

    def counts(self, shape: ModelShape) -> list[int]:
        """Visual tokens left after each group, those of the ViT first."""
        patches, first, second = shape.vision.patches, self.groups(shape), self.language_groups(shape)
        target = budget(self.keep, patches, "IVTP")
        spread = geometric if self.schedule == "ratio" else linear
        if self.middle is None:
            return spread(patches, target, len(first) + len(second))
        if not target <= self.middle <= patches:
            raise ValueError(
                f"IVTP: middle={self.middle} must lie in {target}..{patches}: keep and all tokens"
            )
        return [*spread(patches, self.middle, len(first)), *spread(self.middle, target, len(second))]

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        if shape.vision.prefix == 0:
            raise ValueError("IVTP: this vision tower has no class token, whose attention it follows")
        return (*self._looks(shape), *self._prunes(shape))

    def _looks(self, shape: ModelShape) -> Sequence[Site]:
        """Where the pseudo-CLS takes its text from: nothing is pruned there."""
        groups = self.language_groups(shape)
        layers = range(self.layers if self.pseudo == "rebuilt" and self.ott else 1) if groups else ()
        return [Site(Place.PROMPT, i, scope="all", picture=i == 0) for i in layers]

    def _prunes(self, shape: ModelShape) -> Sequence[Site]:
        """One per group."""
        sites = []
        for group in self.groups(shape):
            probe = Probe(self._scoring(group), values=self.values)
            inside = group[-1] < shape.vision.selected
            sites.append(
                Site(Place.VISION, group[-1], probe) if inside else Site(Place.FEATURES, probe=probe)
            )
        for group in self.language_groups(shape):
            probe = Probe(group, queries=None, values=self.values)  # all of them: the pseudo-CLS passes each
            sites.append(Site(Place.PROMPT, group[-1] + 1, probe, positions=self.positions))
        return sites

    def _scoring(self, group: tuple[int, ...]) -> tuple[int, ...]:
        return group if self.attention == "rollout" else group[-1:]

    def start(self, host: Host) -> Run:
        counts = dict(zip(self._prunes(host.shape), self.counts(host.shape), strict=True))
        return Run(counts, PseudoCls(self.selection, host.text))

    def score(self, view: TokenView, layers: Sequence[int], observer: Observer) -> Tensor:
        """[B, N] fp32; S up to a factor."""
        if self.aggregation == "residual":
            row = observer.rollout(view, layers)
        else:
            rows = torch.stack([view.select(layer, observer.rows[layer]) for layer in layers])
            row = {"mean": rows.mean(0), "max": rows.amax(0), "multiply": rows.prod(0)}[self.aggregation]
        return row * value_norms(view, layers[-1]) if self.values else row

    def reduce(self, site: Site, view: TokenView, state: Run) -> Reduction | None:
        if site.scope == "all":
            state.pseudo.look(view)
            return None
        assert site.probe is not None
        layers = self._scoring(site.probe.layers)
        if site.place == Place.PROMPT:
            observer = ghost_token(view, state.pseudo.advance(view, site.probe.layers))
        else:
            observer = class_token(view, layers)
        score = self.score(view, layers, observer).masked_fill(~view.valid, -torch.inf)
        keep = score.argsort(dim=1, descending=True, stable=True)[:, : state.counts[site]].sort(1).values
        key = state.pseudo.key
        if key is None or not self.rt or state.told:
            return Reduction(keep)
        state.told = True
        return Reduction(keep, note={"text_share": key.share}, words=key.words)

    def flops(self, host: Host, seen: Seen) -> Flops | None:
        told = self.selection.flops(host, seen) if self.stages != "first" else Flops()
        if told is None:
            return None
        vision, made = host.shape.vision, told
        for group in self.groups(host.shape):
            rows = (
                vit_rows(vision, seen, i, values=self.values, ran=self.reads_text)
                for i in self._scoring(group)
            )
            pushes = (pushed(seen.vision[i], vision.width, vision.heads) for i in self._pushed(group))
            lengths = each(2 * self.values, seen.vision[group[-1]] - vision.prefix, vision.width)
            made = sum((*rows, *pushes), made + lengths)
        return made if self.stages == "first" else made + self._language_flops(host, seen)

    def _language_flops(self, host: Host, seen: Seen) -> Flops:
        """Stage 2 but for the choice of text."""
        llm, made = host.shape.llm, passing(host, seen, self.layers)
        width = llm.heads * llm.head_dim
        for group in self.language_groups(host.shape):
            made += each(2 * self.values, seen.visual[group[-1]], width)
            made = sum((pushed(seen.prompt[i], width, llm.heads) for i in self._pushed(group)), made)
        if self.ott:
            looks = (site.layer or 0 for site in self._looks(host.shape))
            made = sum((product(1, seen.reaching(i), llm.width) for i in looks), made)
        return made

    def _pushed(self, group: tuple[int, ...]) -> tuple[int, ...]:
        """The layers of a group whose whole attention a rollout passes."""
        return group[:-1] if self.attention == "rollout" and self.aggregation == "residual" else ()
