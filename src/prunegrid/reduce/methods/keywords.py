"""Which words of a prompt speak of the picture: CLIP's verdict on its own tokens, carried over to the language model's.

IVTP, section 3.3, Eqs. 5 to 7, which has no official code.
Cost: the text tower once per 75 CLIP tokens, 6 E per token for its cosine in CLIP's joint width E (`direct`: 6 D per
text token); spans are compared on the host, S x M of them for S tokens and CLIP's M. No sync but for
`KeyTokens.words`, which the trace asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from prunegrid.reduce.ops import gather
from prunegrid.reduce.text import ClipText, TextTower
from prunegrid.reduce.view import PromptText, TokenView

Span = tuple[int, int]
Scope = Literal["turn", "all"]


@dataclass(frozen=True)
class KeyTokens:
    """chosen [B, S] bool over each sample's text tokens in order; share [B] of those asked about."""

    prompts: Sequence[PromptText]
    chosen: Tensor
    share: Tensor

    def words(self) -> list[list[str]]:
        """The chosen tokens as they are written. Asks the device: for the trace."""
        return [
            [p.text[a:b].strip() for (a, b), yes in zip(p.spans, row, strict=False) if yes]
            for p, row in zip(self.prompts, self.chosen.tolist(), strict=True)
        ]

    def columns(self, view: TokenView) -> Tensor:
        """bool [B, N]: the chosen ones among the tokens of a view with scope "all"."""
        text = view.valid & ~view.visual
        ordinal = (text.long().cumsum(1) - 1).clamp(0, self.chosen.shape[1] - 1)
        return text & self.chosen.gather(1, ordinal)

    def mean(self, view: TokenView) -> Tensor:
        """[B, D]: the mean of the chosen tokens; 0 where there is none."""
        weight = self.columns(view).float()
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1)
        return (weight[:, None] @ view.tokens.detach().float()).squeeze(1).to(view.tokens.dtype)


def asked(prompt: PromptText, scope: Scope) -> Span:
    """The characters that count: the user's turn, or all."""
    return prompt.said if scope == "turn" else (0, len(prompt.text))


def read(tower: TextTower, prompts: Sequence[PromptText], scope: Scope) -> list[ClipText]:
    """What CLIP reads of each prompt."""
    ranges = [asked(p, scope) for p in prompts]
    return tower.read([p.text[a:b] for p, (a, b) in zip(prompts, ranges, strict=True)])


def bare(text: str, span: Span) -> Span:
    """The span without the white space at its ends: a byte-pair token carries the space before it."""
    part = text[span[0] : span[1]]
    start = span[0] + len(part) - len(part.lstrip())
    return start, start + len(part.strip())


def overlap(some: Sequence[Span], others: Sequence[Span]) -> Tensor:
    """bool [S, M]: which spans share a character."""
    a = torch.tensor(some, dtype=torch.long).view(len(some), 1, 2)
    b = torch.tensor(others, dtype=torch.long).view(1, len(others), 2)
    return torch.maximum(a[..., 0], b[..., 0]) < torch.minimum(a[..., 1], b[..., 1])


def relevance(prompt: PromptText, scope: Scope, clip: ClipText, image: Tensor) -> Tensor:
    """[S] fp32, image [E]: per LLM token the mean cosine to the picture of the CLIP tokens that share a character
    (other than space) with it; -inf where none does. CLIP's fast tokenizer gives places in the text as it was
    written, whatever it makes of case and space."""
    shift = asked(prompt, scope)[0]
    theirs = [bare(prompt.text, (a + shift, b + shift)) for a, b in clip.spans]
    shared = overlap([bare(prompt.text, s) for s in prompt.spans], theirs).to(image.device).float()
    cosine = F.cosine_similarity(clip.tokens, image[None], dim=-1) if theirs else image.new_zeros(0)
    count = shared.sum(1)
    return ((shared @ cosine) / count.clamp_min(1)).masked_fill(count == 0, -torch.inf)


def pad(rows: Sequence[Tensor], fill: float) -> Tensor:
    """[S_b] each -> [B, S]."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=fill)


def members(view: TokenView, scope: Scope, who: str) -> Tensor:
    """bool [B, S]: which text tokens lie in the scope. Raises ValueError where prompts and tokens do not fit."""
    if len(view.prompt) != len(view.valid):
        raise ValueError(
            f"{who}: it reads the prompts' texts, but none were given: generate(..., prompt=[...])"
        )
    rows = []
    for b, prompt in enumerate(view.prompt):
        if not prompt.spans:
            raise ValueError(
                f"{who}: the PromptText of prompt {b} does not say where its tokens stand (spans)"
            )
        rows.append(overlap(prompt.spans, [asked(prompt, scope)])[:, 0])
    return pad(rows, False).to(view.valid.device)


def direct(view: TokenView) -> Tensor:
    """[B, S] fp32 cosines of the projected class token and each text token's own embedding."""
    assert view.picture is not None
    text = view.valid & ~view.visual
    order = (~text).to(torch.int8).argsort(dim=1, stable=True)
    words = gather(view.tokens.detach(), order).float()
    cosine = F.cosine_similarity(words, view.picture.projected[:, None].float(), dim=-1)
    return cosine.masked_fill(~text.gather(1, order), -torch.inf)
