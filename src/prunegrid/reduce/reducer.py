"""The two base classes of reduction methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prunegrid.reduce.flops import Flops, Seen
from prunegrid.reduce.ops import first, raster, top
from prunegrid.reduce.parameters import check_declared
from prunegrid.reduce.places import Place, Site
from prunegrid.reduce.text import TextTower
from prunegrid.reduce.view import Reduction, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class Host:
    """What a reducer may know of the model that it runs in."""

    shape: ModelShape
    seed: int = 0
    module: nn.Module | None = None  # what `Reducer.module` built, on the model's device
    text: TextTower | None = None  # there for a reducer that `reads_text`


@dataclass(frozen=True)
class Reducer:
    """A reduction method: a frozen dataclass of parameters, no state. The base is the full-token baseline.

    A value that its declared type does not allow raises ValueError; a `__post_init__` of its own starts with this one.
    """

    def __post_init__(self) -> None:
        check_declared(self)

    @property
    def reads_text(self) -> bool:
        """Whether it needs CLIP's text tower (`Host.text`)."""
        return False

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        """Where it acts."""
        return ()

    def start(self, host: Host) -> Any:
        """State of one call (accumulated scores, a text tower's output); handed to every `reduce`."""
        return host

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction | None:
        """The survivors at this site; None = nothing happens here this time."""
        if site.place == Place.IMAGE:
            return None  # a reducer that only edits pixels
        raise NotImplementedError(f"{type(self).__name__} has sites but no reduce()")

    def edit(self, site: Site, hidden: Tensor, state: Any, valid: Tensor | None = None) -> Tensor:
        """Overwrite what comes in. IMAGE: pixels [B, 3, h, w], of any size (downsampling). VISION and PROMPT: the
        input [B, P+N, D] or [B, T, D] of the site's layer, before it acts; PROMPT: `valid` [B, T]."""
        return hidden

    def module(self, shape: ModelShape) -> nn.Module | None:
        """The method's own weights; `ReducedVLM` asks once and hands them to `start` as `Host.module`. At PROJECTOR:
        forward(features [B, N, C], project, prompt) -> tokens [B, n, D_llm], used instead of the projector, which
        `project` still is: [B, n, C] -> [B, n, D_llm]."""
        return None

    def loss(self, state: Any, project: Callable[[Tensor], Tensor]) -> Tensor | None:
        """What the method's own weights are to learn besides the answers: a scalar, before any weight; None = nothing.
        Asked once, at the end of a training pass. project: LLaVA's projector [.., C] -> [.., D_llm]; gradients pass
        through it to its input, never to its weights."""
        return None

    def flops(self, host: Host, seen: Seen) -> Flops | None:
        """What this method computes itself for one sample, ViT and LLM on fewer tokens aside, from its parameters, the
        shape and the counts of its trace: `prunegrid.reduce.flops` has the rule. None = not counted, which reports
        say."""
        return None


@dataclass(frozen=True)
class ScoreReducer(Reducer):
    """Keep the `keep` tokens with the highest score, in raster order. `keep`: int = tokens, float = share
    of each sample's own."""

    keep: int | float = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_budget(self.keep, type(self).__name__)

    def score(self, view: TokenView) -> Tensor:
        """[B, N] fp32, higher survives."""
        raise NotImplementedError

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction | None:
        n = budget(self.keep, view.tokens.shape[1], type(self).__name__)
        best = top(self.score(view), n, view.valid)
        if isinstance(self.keep, int) or view.full:
            return Reduction(raster(best)[0])
        own = budgets(self.keep, view.valid)
        keep, valid = raster(best, first(own, n) & view.valid.gather(1, best))
        return Reduction(keep, valid=valid)


def check_budget(keep: int | float, who: str) -> None:
    """A budget is a positive number of tokens (int) or a share in (0, 1] (float)."""
    if isinstance(keep, bool) or not isinstance(keep, int | float):
        raise TypeError(f"{who}: keep must be a number of tokens (int) or a share (float), got {keep!r}")
    if isinstance(keep, float) and not 0 < keep <= 1:
        raise ValueError(
            f"{who}: keep={keep} as a share must lie in (0, 1]; write an int for a number of tokens"
        )
    if keep <= 0:
        raise ValueError(f"{who}: keep={keep} must be at least 1 token; only the reducer `blind` keeps none")


def budget(keep: int | float, tokens: int, who: str) -> int:
    """`keep` as a number of tokens out of `tokens`."""
    n = keep if isinstance(keep, int) else max(1, math.floor(keep * tokens + 0.5))
    if n > tokens:
        raise ValueError(f"{who}: keep={keep} is more than the {tokens} tokens there are")
    return n


def budgets(keep: int | float, valid: Tensor) -> Tensor:
    """int [B]: `keep` as a number of each sample's own tokens, of which valid [B, N] knows; no more than it has."""
    own = valid.sum(1)
    if isinstance(keep, int):
        return own.clamp_max(keep)
    return torch.minimum((own.double() * keep + 0.5).floor().long().clamp_min(1), own)
