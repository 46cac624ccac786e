"""CLIP's text side: what a prompt's words mean in the space that the vision tower was trained in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prunegrid.reduce.flops import LAYER_NORM, Flops, each, linear, product, transformer

PIECE = 75  # tokens of a text that CLIP's 77 positions hold, begin and end left out


@dataclass(frozen=True)
class ClipText:
    """One text as CLIP reads it, in windows of 75 tokens, each between begin and end; E = CLIP's joint width.

    tokens [M, E] fp32: each token's last state, normed and projected. (Only the end token was trained against
    pictures, so that cosines of the others are not calibrated.) spans: its characters [start, end) in the text.
    pooled [W, E] fp32: the same at each window's end token, CLIP's sentence vector.
    """

    tokens: Tensor
    spans: tuple[tuple[int, int], ...]
    pooled: Tensor


class TextTower:
    """The text tower of a CLIP and both projections; of its vision tower only the last norm is kept."""

    def __init__(self, clip: Any, tokenizer: Any) -> None:
        """clip: a CLIPModel whose vision tower is the LLaVA's; tokenizer: its fast tokenizer."""
        self.text, self.tokenizer = clip.text_model, tokenizer
        self.text_projection, self.visual_projection = clip.text_projection, clip.visual_projection
        self.post_layernorm = clip.vision_model.post_layernorm
        positions = clip.config.text_config.max_position_embeddings
        if positions < PIECE + 2:
            raise ValueError(f"this CLIP reads {positions} tokens at once; {PIECE + 2} are needed")

    @torch.no_grad()
    def image(self, hidden: Tensor) -> Tensor:
        """[.., C] hidden states of the vision tower -> [.., E] fp32 in the joint space (CLS of the last layer: CLIP's
        own image embedding)."""
        norm, weight = self.post_layernorm, self.visual_projection.weight
        joint: Tensor = self.visual_projection(norm(hidden.to(weight)))
        return joint.float()

    @torch.no_grad()
    def read(self, texts: Sequence[str]) -> list[ClipText]:
        """All windows of all texts in one pass."""
        found = [self.tokenizer(t, add_special_tokens=False, return_offsets_mapping=True) for t in texts]
        pieces = [
            [f["input_ids"][i : i + PIECE] for i in range(0, len(f["input_ids"]), PIECE)] for f in found
        ]
        pieces = [p or [[]] for p in pieces]  # an empty text is one empty window
        states = self._windows([window for p in pieces for window in p])
        read, start = [], 0
        for f, mine in zip(found, pieces, strict=True):
            own = states[start : start + len(mine)]
            start += len(mine)
            tokens = torch.cat([s[1 : 1 + len(w)] for s, w in zip(own, mine, strict=True)])
            pooled = torch.stack([s[1 + len(w)] for s, w in zip(own, mine, strict=True)])
            read.append(ClipText(tokens, tuple((a, b) for a, b in f["offset_mapping"]), pooled))
        return read

    @property
    def joint(self) -> int:
        """Width of the joint space."""
        return int(self.text_projection.out_features)

    def count(self, text: str) -> int:
        """Tokens of a text, begin and end left out."""
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def reading(self, text: str) -> Flops:
        """Operations of `read`, for one text."""
        config, count, made = self.text.config, self.count(text), Flops()
        width, heads = config.hidden_size, config.num_attention_heads
        for start in range(0, max(count, 1), PIECE):
            n = min(PIECE, count - start) + 2
            layer = transformer(width, config.intermediate_size, heads, n, n * n)
            made += layer * config.num_hidden_layers
            made += each(LAYER_NORM, n, width) + linear(width, self.joint, n, bias=False)
        return made

    def placing(self, tokens: int) -> Flops:
        """Operations of `image`, for `tokens` hidden states."""
        width = self.visual_projection.in_features
        return each(LAYER_NORM, tokens, width) + product(tokens, width, self.joint)

    def _windows(self, windows: Sequence[Sequence[int]]) -> Tensor:
        """[W, longest + 2, E] fp32 projected states of the windows, each between begin and end."""
        begin, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        longest = max(map(len, windows))
        # Filled up with end tokens: attention is causal, so that nothing before them changes.
        rows = [[begin, *w, *[end] * (1 + longest - len(w))] for w in windows]
        ids = torch.tensor(rows, device=self.text_projection.weight.device)
        joint: Tensor = self.text_projection(self.text(input_ids=ids).last_hidden_state)
        return joint.float()
