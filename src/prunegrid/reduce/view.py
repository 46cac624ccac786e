"""What a reducer sees (`TokenView`) and what it answers (`Reduction`).

Letters: B samples, N tokens, P prefix tokens (CLS), H heads, Hkv key-value heads, Q recorded queries, D
width, Dh head width, n survivors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prunegrid.reduce.picture import Picture
from prunegrid.reduce.probe import Attended, Record

if TYPE_CHECKING:
    from prunegrid.reduce.ghost import Ghost


@dataclass(frozen=True)
class PromptText:
    """A prompt as text, for text-aware reducers: the text (the picture's placeholder blanked out); per LLM token that
    is no placeholder, in order, its characters [start, end) in it (empty for begin-of-sequence and the like); and
    which part of it the user said, None = all."""

    text: str
    spans: tuple[tuple[int, int], ...] = ()
    turn: tuple[int, int] | None = None

    @property
    def said(self) -> tuple[int, int]:
        """Characters [start, end) of what the user said."""
        return self.turn or (0, len(self.text))

    @property
    def question(self) -> str:
        """What the user said."""
        return self.text[slice(*self.said)]


@dataclass(frozen=True)
class TokenView:
    """The tokens at one site. Padding is masked by `valid`; its content means nothing.

    At CACHE, once heads hold different tokens, valid, visual, index, position and size are [B, Hkv, N].
    """

    tokens: Tensor  # [B, N, D]; at CACHE the keys, heads side by side
    valid: Tensor  # [B, N] bool
    visual: Tensor  # [B, N] bool
    index: Tensor  # [B, N] int: patch id in its grid, -1 = made by merging or text
    position: Tensor  # [B, N] int: RoPE position at PROMPT and CACHE, raster order before
    size: Tensor  # [B, N] float: how many patches each token stands for
    prefix: Tensor  # [B, P, D]: CLS; P = 0 in the language model
    ids: Sequence[str]  # B sample ids: seeds for random choices, so that no batch composition shows
    step: int = 0  # 0 = prefill, then 1, 2, ... while decoding
    layer: int | None = None  # where this is, for reducers with several sites
    prompt: Sequence[PromptText] = ()
    full: bool = False  # every token of every sample is real; known without asking the device
    keys: Mapping[int, Tensor] = field(default_factory=dict)  # layer -> [B, H, N, Dh]
    values: Mapping[int, Tensor] = field(default_factory=dict)  # layer -> [B, H, N, Dh]
    attended: Mapping[int, Attended] = field(default_factory=dict)  # layer -> rows of the probe's queries
    records: Mapping[int, Record] = field(default_factory=dict)  # layer -> queries and keys
    columns: Mapping[int, Tensor] = field(default_factory=dict)  # layer -> [B, N] where they stood in it
    picture: Picture | None = None  # where the site asks for it and there are pictures
    ghosts: Mapping[int, Ghost] = field(
        default_factory=dict
    )  # PROMPT: probed layer -> that layer for one token more

    def attention(self, layer: int) -> Tensor:
        """[B, H, Q, N] fp32 rows of the probe's queries: softmax over ALL keys of the layer (CLS, system,
        text), then the columns of these tokens. Rows of queries that a sample does not have are 0."""
        return self._columns(layer, self.attended[layer].weights())

    def logits(self, layer: int) -> Tensor:
        """[B, H, Q, K] fp32 logits of the probe's queries, over all keys of the layer; -inf: masked."""
        return self.attended[layer].logits

    def select(self, layer: int, rows: Tensor) -> Tensor:
        """Columns of these tokens from [B, ..., K] rows over all keys of the layer -> [B, ..., N]."""
        return self._columns(layer, rows)

    def push(self, layer: int, row: Tensor) -> Tensor:
        """row [B, K] -> row @ A [B, K], A the layer's head-mean attention: exact rollout in O(K d) memory."""
        return self.records[layer].push(row)

    def advance(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """A ghost token's own residual stream through a probed LLM layer: x [B, D] -> ([B, D], its attention
        [B, H, K + 1], itself last). It stands behind the visual tokens, sees up to there, and nobody sees it."""
        return self.ghosts[layer].advance(x)

    def received(self, layer: int) -> Tensor:
        """[B, H, N] attention that each token receives, summed over the layer's queries (H2O, CrossGET)."""
        return self._columns(layer, self.records[layer].received())

    def _columns(self, layer: int, rows: Tensor) -> Tensor:
        columns = self.columns[layer]  # [B, N], or [B, Hkv, N] at CACHE once heads hold different tokens
        if columns.dim() == 3:
            columns = columns.repeat_interleave(rows.shape[1] // columns.shape[1], 1)
        else:
            columns = columns.view(columns.shape[0], *([1] * (rows.dim() - 2)), columns.shape[1])
        while columns.dim() < rows.dim():
            columns = columns.unsqueeze(2)
        return rows.gather(-1, columns.expand(*rows.shape[:-1], columns.shape[-1]))

    def generators(self, seed: int) -> list[torch.Generator]:
        """One CPU generator per sample, from the seed and the sample's id alone."""
        return [torch.Generator().manual_seed(_digest(f"{seed}/{key}")) for key in self.ids]


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class Bags:
    """Mixing rows that are mostly zeros: survivor i is the sum of share[b, e] x token source[b, e] over its entries e,
    from start[b, i] up to start[b, i + 1] (the last one: to the end). Prefix tokens take no part.

    source int [B, E]: indices into N; share float [B, E]; start int [B, n], ascending from 0.
    """

    source: Tensor
    share: Tensor
    start: Tensor


@dataclass(frozen=True)
class Reduction:
    """Which tokens survive, in OUTPUT order before the language model. (Inside it order means nothing: RoPE
    positions and the causal mask follow each token; the session keeps position order.)

    `keep` [B, n] (also [B, Hkv, n] at CACHE): indices into N; -1 = a new token without a representative: it
    needs weights or bags, and at PROMPT it stands behind the last visual token.
    `weights` [B, n, P+N]: rows that mix prefix and tokens into the survivors; None = pure selection.
    `bags`: the same for rows that are mostly zeros, without the n x N products. One of the two at most.
    `valid` [B, n]: False where a sample has fewer survivors; None = as the kept tokens were.
    `position` [B, n]: RoPE positions where the method assigns them itself (PROMPT).
    `group` [B, N]: destination (0..n-1) of every old token, -1 = dropped: sizes and drawings follow it.
    `note`: numbers per sample for the trace (a threshold, a ratio): name -> [B].
    `ragged`, `made`: what the reducer knows without asking the device, which spares the session a
    synchronisation: whether `valid` holds a False; how many survivors of a sample are new (-1) tokens.
    `words`: gives per sample the words of the prompt that decided, for the trace and the drawings.
    """

    keep: Tensor
    weights: Tensor | None = None
    valid: Tensor | None = None
    position: Tensor | None = None
    group: Tensor | None = None
    note: Mapping[str, Tensor] = field(default_factory=dict)
    ragged: bool | None = None
    made: int | None = None
    words: Callable[[], Sequence[Sequence[str]]] | None = None
    bags: Bags | None = None

    @property
    def mixes(self) -> bool:
        """Whether survivors are mixed, not only selected."""
        return self.weights is not None or self.bags is not None

    @property
    def pure(self) -> bool:
        """Surely without new tokens."""
        return not self.mixes or self.made == 0


Reduce = Callable[[TokenView], "Reduction | None"]
