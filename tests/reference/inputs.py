"""Heavy-tailed synthetic inputs, seeded, with an exact number of class-attention outliers.

In CLIP most patches receive almost no class attention and a few a great deal (PruMerge Figure 3). Here the
bulk lies in [1, 2] and the outliers follow a Pareto law from 6 on, beyond any fence the bulk can raise (2 +
1.5 x 1), so that the interquartile rule finds exactly those. It needs fewer than a quarter of the patches to
be outliers: 143 of 576.
"""

from typing import NamedTuple

import torch
from torch import Tensor

OUTLIERS_576 = (10, 16, 24, 28, 32, 35, 36, 40, 52, 64, 65, 96, 97, 120, 140)


class Image(NamedTuple):
    """One image's worth of input to a reduction at the ViT's output."""

    x: Tensor  # [N, C] features
    keys: Tensor  # [N, C] keys, heads concatenated
    a: Tensor  # [N] class attention; sums to 0.9, the class token keeps the rest


def outlier_counts(patches: int) -> list[int]:
    """Outlier counts from 10/576 to 140/576 of the patches: 10..140 at N = 576, 2..35 at N = 144."""
    return sorted({max(1, count * patches // 576) for count in OUTLIERS_576})


def class_attention(patches: int, outliers: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Class attention [N] with exactly `outliers` values above Q3 + 1.5 IQR, at random places."""
    if not 0 <= outliers < patches / 4:
        raise ValueError(f"{outliers} outliers of {patches}: fewer than a quarter can lie above the fence")
    generator = torch.Generator().manual_seed(seed)
    bulk = 1 + torch.rand(patches - outliers, generator=generator, dtype=torch.float64)
    tail = 6 * (1 - torch.rand(outliers, generator=generator, dtype=torch.float64)) ** -0.7
    a = torch.cat([bulk, tail])[torch.randperm(patches, generator=generator)]
    return (0.9 * a / a.sum()).to(dtype)


def image(
    patches: int,
    width: int,
    outliers: int,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    clusters: int = 12,
) -> Image:
    """Features and keys in noisy clusters (as an image's regions are), with heavy-tailed class attention."""
    generator = torch.Generator().manual_seed(seed + 1)
    member = torch.randint(clusters, (patches,), generator=generator)
    centres = torch.randn(2, clusters, width, generator=generator, dtype=torch.float64)
    noise = torch.randn(2, patches, width, generator=generator, dtype=torch.float64)
    x, keys = centres[:, member] + 0.5 * noise
    return Image(x.to(dtype), keys.to(dtype), class_attention(patches, outliers, seed, dtype))


def query_and_keys(a: Tensor, heads: int, head_width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Queries and keys whose softmax in every head is `a`, the class token taking what is missing to 1.

    a: [N], float64. Returns q_cls [H, Dh] and k [H, 1 + N, Dh]. With heads=1 both readings of class attention
    give `a`; with more, only the per-head one does (the released one sharpens it).
    """
    generator = torch.Generator().manual_seed(seed + 2)
    q = torch.randn(heads, head_width, generator=generator, dtype=a.dtype)
    k = torch.randn(heads, 1 + a.shape[0], head_width, generator=generator, dtype=a.dtype)
    target = torch.cat([1 - a.sum().reshape(1), a]).log() * head_width**0.5
    for h in range(heads):
        along = q[h] / q[h].square().sum()
        k[h] += (target - k[h] @ q[h])[:, None] * along
    return q, k
