"""Qwen-VL's resampler: learned queries read the picture through one cross-attention (arXiv:2308.12966)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from prunegrid.reduce.flops import LAYER_NORM, SOFTMAX, Flops, Seen, each, linear, product
from prunegrid.reduce.learned import Learned
from prunegrid.reduce.methods.sincos import resized, sincos
from prunegrid.reduce.places import Place, Site
from prunegrid.reduce.reducer import Host
from prunegrid.reduce.view import PromptText
from prunegrid.shape import ModelShape

HEAD = 128  # width of a head


class Resampler(nn.Module):
    """[B, N, inputs] -> [B, side^2, width]. Weights as the official code starts them: truncated normal .02, biases
    0, norms 1; the last matrix normal with width^-0.5. N is a square."""

    def __init__(self, side: int, inputs: int, width: int) -> None:
        super().__init__()
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.query = nn.Parameter(torch.zeros(side**2, width))
        self.kv_proj = nn.Linear(inputs, width, bias=False) if inputs != width else nn.Identity()
        self.attn = nn.MultiheadAttention(width, max(1, width // HEAD), batch_first=True)
        self.ln_q, self.ln_kv, self.ln_post = norm(width), norm(width), norm(width)
        self.register_buffer("position", sincos(width, side))
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
        nn.init.trunc_normal_(self.query, std=0.02)
        self.proj = nn.Parameter(width**-0.5 * torch.randn(width, width))

    def forward(self, features: Tensor) -> Tensor:
        x = self.ln_kv(self.kv_proj(features))
        position = self.get_buffer("position")
        query = (self.ln_q(self.query) + position).expand(len(x), -1, -1)
        mixed, _ = self.attn(query, x + resized(position, x.shape[1]), x, need_weights=False)
        out: Tensor = self.ln_post(mixed) @ self.proj
        return out


class Resampled(nn.Module):
    """The resampler in front of the model's projector, or (`direct`) in its place."""

    def __init__(self, resampler: Resampler, direct: bool) -> None:
        super().__init__()
        self.resampler, self.direct = resampler, direct

    def forward(
        self, features: Tensor, project: Callable[[Tensor], Tensor], prompt: Sequence[PromptText] = ()
    ) -> Tensor:
        out: Tensor = self.resampler(features)
        return out if self.direct else project(out)


@dataclass(frozen=True)
class QwenResampler(Learned):
    """`side`^2 tokens: learned queries, norm, plus fixed sine-cosine positions; keys = projected and normed features
    plus the same positions, interpolated; values = features without; heads of 128; norm; a square matrix.

    `width` vision: as wide as the ViT (1024), in front of the model's own projector, which the published extra
    cost of 0.003 TFLOPs in IVTP Table 9 fits. llm: as wide as the language model (4096), instead of the projector.

    From the copy in Yuliang-Liu/Monkey at 435b296 (the official file is not in the repository); there 256
    queries, in IVTP 64.
    [B, N, C] -> [B, n, W], n = side^2, W = C or D.
    Cost: 4 N W^2 for keys and values, 6 n W^2 for queries, output and the last matrix, 4 n N W for the n x N
    attention; llm: 2 N C W to widen the features. Nothing of N x N. No sync.
    """

    side: int = 8
    width: Literal["vision", "llm"] = "vision"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side < 1:
            raise ValueError(f"QwenResampler: side={self.side} must be at least 1")

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        self._check(shape)
        return (Site(Place.PROJECTOR),)

    def _check(self, shape: ModelShape) -> None:
        if self.side > shape.vision.side:
            raise ValueError(
                f"QwenResampler: side={self.side} is more than the {shape.vision.side} patches per side that there are"
            )

    def build(self, shape: ModelShape) -> nn.Module:
        self._check(shape)
        direct = self.width == "llm"
        width = shape.projector.outputs if direct else shape.projector.inputs
        return Resampled(Resampler(self.side, shape.projector.inputs, width), direct)

    def flops(self, host: Host, seen: Seen) -> Flops:
        inputs, n, asked = host.shape.projector.inputs, seen.features(host.shape), self.side**2
        width = host.shape.projector.outputs if self.width == "llm" else inputs
        made = linear(inputs, width, n * (inputs != width), bias=False) + linear(
            width, width, 2 * n + 2 * asked
        )
        made += Flops(4 * asked * n * width, SOFTMAX * asked * n * max(1, width // HEAD))
        made += each(LAYER_NORM + 1, n + asked, width) + each(LAYER_NORM, asked, width)
        made += each(2 * 16, n * (n != asked), width)  # positions, each from 4 x 4 neighbours
        return made + product(asked, width, width)
