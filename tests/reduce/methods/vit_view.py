"""What the session hands over in the ViT, made from known queries, keys and values; and checks for any method there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prunegrid.reduce import Reducer, Reduction, TokenView
from prunegrid.reduce.probe import Record, cls_rows
from prunegrid.reduce.reducer import Host
from prunegrid.shape import ModelShape
from reduce import lab
from reference import inputs

SHAPES = [(16, 8, 2), (64, 32, 4), (144, 32, 4)]  # patches, width, heads
FULL = (576, 64, 4)  # for references that are fast enough


@dataclass(frozen=True)
class Layer:
    """One ViT layer of one image; index 0 is CLS."""

    x: Tensor  # [1 + N, C]
    q: Tensor  # [H, 1 + N, Dh]
    k: Tensor
    v: Tensor

    def attention(self) -> Tensor:
        """[H, 1 + N, 1 + N]"""
        return (self.q @ self.k.transpose(1, 2) * self.q.shape[-1] ** -0.5).softmax(-1)

    def head(self, tokens: int) -> Layer:
        """CLS and the first patches alone."""
        return Layer(self.x[:tokens], self.q[:, :tokens], self.k[:, :tokens], self.v[:, :tokens])


def layer(patches: int, width: int, heads: int, seed: int) -> Layer:
    """Heavy-tailed CLS attention, clustered features and keys, random other queries."""
    g = torch.Generator().manual_seed(100 + seed)
    drawn = inputs.image(patches, width, max(1, patches // 16), seed)
    q_cls, _ = inputs.query_and_keys(drawn.a, heads, width // heads, seed)
    k = drawn.keys.view(patches, heads, -1).transpose(0, 1)
    k = torch.cat([torch.randn(heads, 1, k.shape[2], generator=g, dtype=k.dtype), k], 1)
    # Every head looks elsewhere, so that it shows how heads are averaged.
    a = drawn.a * (1.5 * torch.randn(heads, patches, generator=g, dtype=k.dtype)).exp()
    target = (
        torch.cat([torch.full((heads, 1), 0.1), 0.9 * a / a.sum(1, keepdim=True)], 1).log()
        * k.shape[2] ** 0.5
    )
    along = q_cls / q_cls.square().sum(1, keepdim=True)
    k = k + (target - (k @ q_cls[:, :, None])[..., 0])[..., None] * along[:, None]
    q = torch.randn(k.shape, generator=g, dtype=k.dtype)
    q[:, 0] = q_cls
    v = torch.randn(k.shape, generator=g, dtype=k.dtype).exp()
    x = torch.cat([torch.randn(1, width, generator=g, dtype=k.dtype), drawn.x])
    return Layer(*(t.float() for t in (x, q, k, v)))


def batch(patches: int, width: int, heads: int, samples: int, seed: int = 0) -> list[Layer]:
    return [layer(patches, width, heads, seed + 7 * b) for b in range(samples)]


def view(
    layers: Sequence[Layer],
    at: int,
    size: Tensor | None = None,
    counts: Sequence[int] | None = None,
    place: int | None = None,
) -> TokenView:
    """The view of a site that probes layer `at`; `counts`: patches that each sample really has (the first ones)."""
    x = torch.stack([i.x for i in layers])
    samples, tokens, _ = x.shape
    index = torch.arange(tokens - 1).expand(samples, -1)
    real = torch.tensor(counts or [tokens - 1] * samples)
    valid = index < real[:, None]
    q, k, v = (torch.stack([getattr(i, n) for i in layers]) for n in "qkv")
    seen = torch.cat([valid[:, :1] | True, valid], 1)[:, None, None, :]
    record = Record(q, k, v, seen if counts else None, None, q.shape[-1] ** -0.5, False)
    return TokenView(
        tokens=x[:, 1:],
        valid=valid,
        visual=valid,
        index=index,
        position=index,
        size=torch.ones(index.shape) if size is None else size,
        prefix=x[:, :1],
        ids=[str(b) for b in range(samples)],
        layer=at if place is None else place,
        keys={at: k[:, :, 1:]},
        values={at: v[:, :, 1:]},
        attended={at: cls_rows(record)},
        records={at: record},
        columns={at: index + 1},
    )


def shape(patches: int, layers: int = 24) -> ModelShape:
    """A model with this many patches; everything else is LLaVA-1.5."""
    side = round(patches**0.5)
    assert side**2 == patches
    return ModelShape.from_config(
        {
            "vision_config": {
                "model_type": "clip_vision_model",
                "num_hidden_layers": layers,
                "hidden_size": 1024,
                "num_attention_heads": 16,
                "intermediate_size": 4096,
                "image_size": 14 * side,
                "patch_size": 14,
            }
        }
    )


def groups(r: Reduction, b: int) -> list[list[int]]:
    """Old patches per survivor of sample b, from `group`."""
    assert r.group is not None
    found: list[list[int]] = [[] for _ in range(r.keep.shape[1])]
    for j, place in enumerate(r.group[b].tolist()):
        if place >= 0:
            found[place].append(j)
    return found


def host(patches: int, layers: int = 24) -> Host:
    return Host(shape(patches, layers))


def hooks(model: nn.Module) -> list[int]:
    counted = []
    for module in model.modules():
        kinds: list[Any] = [
            module._forward_hooks,
            module._forward_pre_hooks,
            module.__dict__.get("forward", ()),
        ]
        counted.append(sum(len(kind) for kind in kinds if hasattr(kind, "__len__")) + callable(kinds[2]))
    return counted


def in_the_model(model: Any, reducer: Reducer) -> lab.Answer:
    """Runs a batch of two, of unequal lengths: the same as each sample alone, deterministic, and nothing left behind."""
    given, before = lab.batch(), hooks(model)
    both = lab.answer(model, reducer, given)
    assert hooks(model) == before, "something was left on the model"
    again = lab.answer(model, reducer, given)
    assert torch.equal(both.logits, again.logits) and both.trace == again.trace
    for b in range(2):
        alone = lab.answer(model, reducer, lab.one(given, b), ids=[str(b)])
        lab.close(both.logits[b], alone.logits[0])
        assert alone.trace.vision[0] == both.trace.vision[b]
        assert alone.trace.projector[0] == both.trace.projector[b]
        assert {p: k[0] for p, k in alone.trace.kept.items()} == {p: k[b] for p, k in both.trace.kept.items()}
    return both
