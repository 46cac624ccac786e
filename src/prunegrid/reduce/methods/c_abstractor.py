"""Honeybee's C-Abstractor: convolutions around an average pooling, then an MLP (arXiv:2312.06742)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunegrid.reduce.flops import ACTIVATION, LAYER_NORM, Flops, Seen, each, linear, product
from prunegrid.reduce.learned import Learned
from prunegrid.reduce.places import Place, Site
from prunegrid.reduce.reducer import Host
from prunegrid.reduce.view import PromptText
from prunegrid.shape import ModelShape


class Norm2d(nn.LayerNorm):
    """LayerNorm over the channels of [B, C, h, w]."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(
            x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps
        ).permute(0, 3, 1, 2)


class Block(nn.Module):
    """RegNet's bottleneck without a bottleneck: 1 x 1, 3 x 3 in groups, squeeze and excite, 1 x 1; norms between."""

    def __init__(self, inputs: int, outputs: int, group: int) -> None:
        super().__init__()
        squeezed = max(1, round(inputs * 0.25))
        self.conv1, self.norm1 = nn.Conv2d(inputs, outputs, 1, bias=False), Norm2d(outputs, eps=1e-6)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs // group, bias=False)
        self.norm2 = Norm2d(outputs, eps=1e-6)
        self.squeeze, self.excite = nn.Conv2d(outputs, squeezed, 1), nn.Conv2d(squeezed, outputs, 1)
        self.conv3, self.norm3 = nn.Conv2d(outputs, outputs, 1, bias=False), Norm2d(outputs, eps=1e-6)
        self.short = (
            nn.Identity()
            if inputs == outputs
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), Norm2d(outputs, eps=1e-6))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.norm1(self.conv1(x)))
        y = F.silu(self.norm2(self.conv2(y)))
        y = y * self.excite(F.silu(self.squeeze(y.mean((2, 3), keepdim=True)))).sigmoid()
        return F.silu(self.norm3(self.conv3(y)) + self.short(x))


class Abstractor(nn.Module):
    """[B, N, inputs] -> [B, side^2, outputs]. Positions start as truncated normal .02, the rest as torch does."""

    def __init__(
        self, patches: int, inputs: int, outputs: int, side: int, hidden: int, depth: int, group: int
    ) -> None:
        super().__init__()
        self.side = side
        self.position = nn.Parameter(torch.zeros(1, patches, inputs))
        nn.init.trunc_normal_(self.position, std=0.02)
        before = [Block(inputs if i == 0 else hidden, hidden, group) for i in range(depth)]
        after = [Block(hidden, hidden, group) for _ in range(depth)]
        self.before, self.after = nn.Sequential(*before), nn.Sequential(*after)
        self.readout = nn.Sequential(nn.Linear(hidden, outputs), nn.SiLU(), nn.Linear(outputs, outputs))

    def forward(
        self,
        features: Tensor,
        project: Callable[[Tensor], Tensor] | None = None,
        prompt: Sequence[PromptText] = (),
    ) -> Tensor:
        x = features + self.position
        grid = round(x.shape[1] ** 0.5)
        x = self.before(x.transpose(1, 2).unflatten(2, (grid, grid)))
        x = self.after(F.adaptive_avg_pool2d(x, self.side))
        out: Tensor = self.readout(x.flatten(2).transpose(1, 2))
        return out


@dataclass(frozen=True)
class CAbstractor(Learned):
    """`side`^2 tokens instead of the projector's: features plus learned positions as a grid, `depth` RegNet blocks
    (SiLU, channel LayerNorm), average pooling to side x side, `depth` blocks, an MLP with SiLU.

    Official code khanrc/honeybee at 68a8d84 (there the last ViT layer at 224 pixels; IVTP retrains it at LLaVA's).
    `group`: channels per group of the 3 x 3 convolution; 1, depthwise, is timm's default, and fits the published
    cost.
    [B, N, C] -> [B, side^2, D].
    Cost: 2 N C (2 C + 9 group) per block before the pooling, as much per n = side^2 tokens behind it, 2 n D (C + D)
    for the MLP: 11 GFLOPs at 576 x 1024 and 64 tokens, two thirds of them before the pooling. Convolutions alone,
    nothing of N x N. No sync.
    """

    side: int = 8
    depth: int = 3
    group: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("side", "depth", "group"):
            if getattr(self, name) < 1:
                raise ValueError(f"CAbstractor: {name}={getattr(self, name)} must be at least 1")

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        if self.side > shape.vision.side:
            raise ValueError(
                f"CAbstractor: side={self.side} must lie in 1..{shape.vision.side}, the patches per side"
            )
        return (Site(Place.PROJECTOR),)

    def build(self, shape: ModelShape) -> nn.Module:
        inputs, outputs = shape.projector.inputs, shape.projector.outputs
        if inputs % self.group:
            raise ValueError(f"CAbstractor: group={self.group} must divide the {inputs} channels")
        return Abstractor(shape.vision.patches, inputs, outputs, self.side, inputs, self.depth, self.group)

    def flops(self, host: Host, seen: Seen) -> Flops:
        width, outputs, n = (
            host.shape.projector.inputs,
            host.shape.projector.outputs,
            seen.features(host.shape),
        )
        made = each(2, n, width)  # positions, pooling
        for tokens in (n, self.side**2):
            made += self._block(width, tokens) * self.depth
        return made + linear(width, outputs, self.side**2) + linear(outputs, outputs, self.side**2)

    def _block(self, width: int, tokens: int) -> Flops:
        """Operations of one `Block`."""
        squeezed = max(1, round(width * 0.25))
        convolved = product(tokens, 2 * width + 9 * self.group, width)
        excited = linear(width, squeezed, 1) + linear(squeezed, width, 1)
        return convolved + excited + each(3 * (LAYER_NORM + ACTIVATION) + 3, tokens, width)
