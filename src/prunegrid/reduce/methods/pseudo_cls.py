"""IVTP's textual pseudo-CLS: the words that speak of the picture, as one token that looks at the picture for them.

IVTP, section 3.3, Eq. 8, without official code; that the token has a residual stream of its own is this project's reading.
Cost: one token through the projector and through each LLM layer that it passes, there with its row of attention,
2 T D; for the choice of words CLIP's text tower (see keywords), and of the ViT's last layer the class token, all keys
and values. No sync.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from prunegrid.reduce.flops import Flops, Seen, class_token, decoder_token, each, llm_rows, projected
from prunegrid.reduce.methods.keywords import (
    KeyTokens,
    asked,
    direct,
    members,
    pad,
    read,
    relevance,
)
from prunegrid.reduce.reducer import Host
from prunegrid.reduce.text import TextTower
from prunegrid.reduce.view import TokenView


@dataclass(frozen=True)
class Selection:
    """Which text tokens make the pseudo-CLS: the switches of IVTP's Table 6.

    ott: original text tokens at all (off: the projected visual CLS). rt: only those with relevance >= tau. te:
    relevance by CLIP's text encoder (off: cosine of the projected visual CLS and the LLM's own embeddings).
    """

    ott: bool = True
    te: bool = True
    rt: bool = True
    tau: float = 0.2
    text: Literal["turn", "all"] = "turn"

    def __post_init__(self) -> None:
        if self.te and not self.rt:
            raise ValueError(
                "IVTP: te (text encoder) only serves the threshold: rt must be on with it, or te off"
            )
        if self.rt and not self.ott:
            raise ValueError(
                "IVTP: rt (threshold) chooses among the text tokens: ott must be on with it, or rt off"
            )
        if not -1 <= self.tau <= 1:
            raise ValueError(f"IVTP: tau={self.tau} is compared with cosines: it must lie in [-1, 1]")

    def choose(self, view: TokenView, tower: TextTower | None) -> KeyTokens:
        """The key tokens, from a view of all tokens at the input of LLM layer 0."""
        inside = members(view, self.text, "IVTP")
        chosen = inside
        if self.rt:
            chosen = inside & (self._relevance(view, tower)[:, : inside.shape[1]] >= self.tau)
        share = chosen.sum(1) / inside.sum(1).clamp_min(1)
        return KeyTokens(view.prompt, chosen, share)

    def flops(self, host: Host, seen: Seen) -> Flops | None:
        """Operations of `choose`, and of the picture that it looks at; None: there is no text to count."""
        if not self.rt:
            return Flops()
        if not self.te:  # three sums of products make a cosine
            return each(6, seen.reaching(0) - seen.visual[0], host.shape.llm.width)
        if host.text is None or seen.text is None:
            return None
        text = seen.text.text[slice(*asked(seen.text, self.text))]
        cosines = each(6, host.text.count(text), host.text.joint)
        return class_token(host.shape.vision, seen) + host.text.placing(1) + host.text.reading(text) + cosines

    def _relevance(self, view: TokenView, tower: TextTower | None) -> Tensor:
        """[B, S] fp32."""
        assert view.picture is not None
        if not self.te:
            return direct(view)
        assert tower is not None, "ReducedVLM checks reads_text"
        texts, image = read(tower, view.prompt, self.text), tower.image(view.picture.last)
        rows = [relevance(p, self.text, t, x) for p, t, x in zip(view.prompt, texts, image, strict=True)]
        return pad(rows, -torch.inf)


@dataclass
class PseudoCls:
    """The token of one call on its way through the language model."""

    selection: Selection
    tower: TextTower | None
    key: KeyTokens | None = None
    _means: dict[int, Tensor] = field(
        default_factory=dict
    )  # layer -> [B, D] mean of the key tokens entering it
    _x: Tensor | None = None  # [B, D] entering the next layer

    def look(self, view: TokenView) -> None:
        """Take what this layer's input (a view of all tokens) shows: the picture and the choice at the first, the
        mean of the key tokens at each."""
        if self._x is None:
            if view.picture is None:
                return  # no picture: nothing will be pruned
            self._x = view.picture.projected
            if self.selection.ott:
                self.key = self.selection.choose(view, self.tower)
        if self.key is not None:
            assert view.layer is not None
            self._means[view.layer] = self.key.mean(view)

    def advance(self, view: TokenView, layers: Sequence[int]) -> dict[int, Tensor]:
        """Pass the layers of a group: layer -> [B, K + 1] its attention, mean over heads, itself last. Where tokens
        were looked at, the token is their mean; else, and where there are no key tokens, its own residual stream."""
        rows = {}
        for layer in layers:
            assert self._x is not None
            x = self._x
            if layer in self._means and self.key is not None:
                x = torch.where(self.key.chosen.any(1, keepdim=True), self._means[layer], x)
            self._x, row = view.advance(layer, x)
            rows[layer] = row.mean(1)
        return rows


def passing(host: Host, seen: Seen, layers: int) -> Flops:
    """Operations of `PseudoCls` on its way: the projector, then the first `layers` LLM layers, each with its row."""
    llm, made = host.shape.llm, projected(host.shape, 1)
    for keys in seen.prompt[:layers]:
        made += decoder_token(llm, keys + 1) + llm_rows(llm, 1, keys + 1)
    return made
