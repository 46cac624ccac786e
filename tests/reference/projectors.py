"""The learned projectors, one picture at a time, in plain loops over tokens, heads and pixels; weights by name."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


def norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-6) -> Tensor:
    """Layer norm of one vector."""
    mean = x.sum() / len(x)
    spread = ((x - mean) ** 2).sum() / len(x)
    return (x - mean) / (spread + eps).sqrt() * weight + bias


def silu(x: Tensor) -> Tensor:
    return x / (1 + (-x).exp())


def position(width: int, row: int, column: int) -> Tensor:
    """Two-dimensional sine-cosine embedding: sin, cos of the column, then of the row."""
    quarter = width // 4
    angle = [[p / 10000 ** (i / quarter) for i in range(quarter)] for p in (column, row)]
    parts = [[f(a) for a in line] for line in angle for f in (math.sin, math.cos)]
    return torch.tensor([value for part in parts for value in part])


def cubic(size: int, target: int) -> Tensor:
    """[target, size]: weights of cubic convolution (a = -0.75) from a line of `size` to one of `target` pixels, whose
    borders coincide; beyond the border the last pixel goes on."""
    rows = torch.zeros(target, size)
    for t in range(target):
        x = (t + 0.5) * size / target - 0.5
        for i in range(math.floor(x) - 1, math.floor(x) + 3):
            d = abs(x - i)
            near = 1.25 * d**3 - 2.25 * d**2 + 1
            far = -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
            rows[t, min(max(i, 0), size - 1)] += near if d <= 1 else far
    return rows


def spread(table: Tensor, side: int, grid: int) -> list[Tensor]:
    """table [side^2, D] over a square -> the same, by cubic convolution, at grid x grid places: [D] each."""
    line, made = cubic(side, grid), []
    for row in range(grid):
        for column in range(grid):
            weights = [line[row, t // side] * line[column, t % side] for t in range(side**2)]
            made.append(sum((a * x for a, x in zip(weights, table, strict=True)), torch.zeros_like(table[0])))
    return made


def resample(x: Tensor, w: Weights, side: int, heads: int) -> Tensor:
    """Qwen-VL's resampler of a square picture; its places are the queries', interpolated to its own grid.
    x [N, C] -> [side^2, width]."""
    width, grid = w["query"].shape[1], math.isqrt(len(x))
    places = [position(width, t // side, t % side) for t in range(side**2)]
    theirs = places if grid == side else spread(torch.stack(places), side, grid)
    x = x @ w["kv_proj.weight"].T if "kv_proj.weight" in w else x
    seen = [norm(t, w["ln_kv.weight"], w["ln_kv.bias"]) for t in x]
    w_q, w_k, w_v = w["attn.in_proj_weight"].chunk(3)
    b_q, b_k, b_v = w["attn.in_proj_bias"].chunk(3)
    places, theirs = ([p.to(x.dtype) for p in table] for table in (places, theirs))
    keys = [w_k @ (t + p) + b_k for t, p in zip(seen, theirs, strict=True)]
    values = [w_v @ t + b_v for t in seen]
    made = []
    for token, place in zip(w["query"], places, strict=True):
        q = w_q @ (norm(token, w["ln_q.weight"], w["ln_q.bias"]) + place) + b_q
        mixed = torch.zeros(width, dtype=x.dtype)
        for h in range(heads):
            cut = slice(h * width // heads, (h + 1) * width // heads)
            logits = torch.stack([(q[cut] * k[cut]).sum() for k in keys]) * (width // heads) ** -0.5
            powers = (logits - logits.max()).exp()
            for share, v in zip(powers / powers.sum(), values, strict=True):
                mixed[cut] += share * v[cut]
        out = w["attn.out_proj.weight"] @ mixed + w["attn.out_proj.bias"]
        made.append(norm(out, w["ln_post.weight"], w["ln_post.bias"]) @ w["proj"])
    return torch.stack(made)


def block(grid: Tensor, w: Weights, name: str, group: int) -> Tensor:
    """One RegNet block on [h, w, C]."""
    height, width, _ = grid.shape

    def at(key: str) -> Tensor:
        return w[f"{name}.{key}"]

    def one(x: Tensor, conv: str, normed: str) -> Tensor:
        return norm(at(f"{conv}.weight")[:, :, 0, 0] @ x, at(f"{normed}.weight"), at(f"{normed}.bias"))

    first = [[silu(one(grid[i, j], "conv1", "norm1")) for j in range(width)] for i in range(height)]
    kernel = at("conv2.weight")  # [C, group, 3, 3]
    channels, second = kernel.shape[0], []
    for i in range(height):
        for j in range(width):
            total = torch.zeros(channels)
            for c in range(channels):
                start = c // group * group
                for di in (-1, 0, 1):
                    for dj in (-1, 0, 1):
                        if 0 <= i + di < height and 0 <= j + dj < width:
                            inside = first[i + di][j + dj][start : start + group]
                            total[c] += (inside * kernel[c, :, di + 1, dj + 1]).sum()
            second.append(silu(norm(total, at("norm2.weight"), at("norm2.bias"))))
    mean = sum(second, torch.zeros(channels)) / len(second)
    small = silu(at("squeeze.weight")[:, :, 0, 0] @ mean + at("squeeze.bias"))
    gate = 1 / (1 + (-(at("excite.weight")[:, :, 0, 0] @ small + at("excite.bias"))).exp())
    out = []
    for t, y in enumerate(second):
        x = grid[t // width, t % width]
        short = one(x, "short.0", "short.1") if f"{name}.short.0.weight" in w else x
        out.append(silu(one(y * gate, "conv3", "norm3") + short))
    return torch.stack(out).view(height, width, -1)


def abstract(x: Tensor, w: Weights, side: int, depth: int, group: int) -> Tensor:
    """Honeybee's C-Abstractor: x [N, C] -> [side^2, D]; side divides the picture's grid."""
    width = round(len(x) ** 0.5)
    grid = (x + w["position"][0]).view(width, width, -1)
    for i in range(depth):
        grid = block(grid, w, f"before.{i}", group)
    cell = width // side
    pooled = [
        [
            grid[i * cell : (i + 1) * cell, j * cell : (j + 1) * cell].flatten(0, 1).mean(0)
            for j in range(side)
        ]
        for i in range(side)
    ]
    grid = torch.stack([torch.stack(row) for row in pooled])
    for i in range(depth):
        grid = block(grid, w, f"after.{i}", group)
    made = []
    for token in grid.flatten(0, 1):
        hidden = silu(w["readout.0.weight"] @ token + w["readout.0.bias"])
        made.append(w["readout.2.weight"] @ hidden + w["readout.2.bias"])
    return torch.stack(made)


def context(x: Tensor, asked: Tensor, w: Weights) -> Tensor:
    """LLaMA-VID's context token: x [N, C], asked [Q, C] -> [D]. Raw features are averaged, only keys are mapped."""
    keys = [w["key.weight"] @ t + w["key.bias"] for t in x]
    total = torch.zeros(x.shape[1])
    for q in asked:
        logits = torch.stack([(q * k).sum() for k in keys]) * x.shape[1] ** -0.5
        powers = (logits - logits.max()).exp()
        for share, t in zip(powers / powers.sum(), x, strict=True):
            total += share * t / len(asked)
    return w["value.weight"] @ total + w["value.bias"]
