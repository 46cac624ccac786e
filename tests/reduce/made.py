"""Views made by hand from random queries and keys, at any shape; and a reducer that makes counts ragged first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from prunegrid.reduce import Host, Place, Reducer, Reduction, Site, TokenView
from prunegrid.reduce.methods.h2o import H2O
from prunegrid.reduce.probe import Record, cls_rows
from prunegrid.reduce.rows import Rows, attended
from prunegrid.shape import ModelShape
from reference import h2o

from .lab import HEADS, KV_HEADS, Plan


class Prompt(NamedTuple):
    """One sample of a language model: q [H, T, Dh], k [G, T, Dh]; the columns that are visual."""

    q: Tensor
    k: Tensor
    visual: range


def prompt(before: int, image: int, behind: int, heads: int = 4, groups: int = 2, seed: int = 0) -> Prompt:
    """Heavy-tailed: a few keys point along the queries."""
    g = torch.Generator().manual_seed(seed)
    length = before + image + behind
    q = torch.randn(heads, length, 8, generator=g, dtype=torch.float64)
    k = torch.randn(groups, length, 8, generator=g, dtype=torch.float64)
    loud = torch.rand(length, generator=g, dtype=torch.float64) ** -0.5
    return Prompt(q + q.mean((0, 1)), k * loud[:, None].clamp_max(6), range(before, before + image))


def prompt_view(samples: Sequence[Prompt], layer: int, queries: str | None) -> TokenView:
    """The left-padded batch at a PROMPT site that probes `layer`."""
    longest = max(s.q.shape[1] for s in samples)

    def padded(x: Tensor) -> Tensor:
        return torch.cat([x.new_full((len(x), longest - x.shape[1], x.shape[2]), 9.0), x], 1)

    q, k = torch.stack([padded(s.q) for s in samples]), torch.stack([padded(s.k) for s in samples])
    pads = [longest - s.q.shape[1] for s in samples]
    column = torch.arange(longest)
    valid = torch.stack([column >= p for p in pads])
    visual = torch.stack(
        [
            (column >= p + s.visual.start) & (column < p + s.visual.stop)
            for p, s in zip(pads, samples, strict=True)
        ]
    )
    mask = (torch.ones(longest, longest, dtype=torch.bool).tril() & valid[:, None])[:, None]
    k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
    record = Record(q, k, k, mask, None, q.shape[-1] ** -0.5, False)
    index = torch.where(visual, visual.long().cumsum(1) - 1, -1)
    rows = Rows.full(valid, visual, index, torch.ones(visual.shape))
    columns = (~visual).to(torch.int8).argsort(dim=1, stable=True)[:, : int(visual.sum(1).max())]
    part = rows.take(columns)
    return TokenView(
        tokens=torch.zeros(*columns.shape, 4),
        valid=part.visual,
        visual=part.visual,
        index=part.index,
        position=part.position,
        size=part.size,
        prefix=torch.zeros(len(samples), 0, 4),
        ids=[str(b) for b in range(len(samples))],
        layer=layer + 1,
        attended={layer: attended(record, queries, rows)} if queries else {},
        records={layer: record},
        columns={layer: columns},
    )


class Patches(NamedTuple):
    """One image in one ViT layer: q, k, v [H, 1 + N, Dh], the class token first."""

    q: Tensor
    k: Tensor
    v: Tensor


def patches(count: int, heads: int = 4, seed: int = 0, sharp: float = 1.5) -> Patches:
    """Heavy-tailed class attention and value lengths."""
    g = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, heads, 1 + count, 8, generator=g, dtype=torch.float64) * sharp
    return Patches(
        q, k, v * torch.rand(1 + count, 1, generator=g, dtype=torch.float64).clamp_min(0.02) ** -0.5
    )


def patch_view(
    layers: dict[int, Sequence[Patches]], tokens: Tensor | None = None, place: int = 0
) -> TokenView:
    """The batch after ViT layer `place`; samples may differ in their number of patches."""
    some = next(iter(layers.values()))
    counts = [s.q.shape[1] - 1 for s in some]
    most = max(counts)
    valid = torch.arange(most) < torch.tensor(counts)[:, None]
    index = torch.arange(most).expand(len(counts), -1)
    ragged = min(counts) < most
    mask = torch.cat([valid[:, :1], valid], 1)[:, None, None] if ragged else None

    def padded(x: Tensor) -> Tensor:
        return torch.cat([x, x.new_full((len(x), 1 + most - x.shape[1], x.shape[2]), 7.0)], 1)

    records = {}
    for layer, samples in layers.items():
        q, k, v = (torch.stack([padded(x) for x in part]) for part in zip(*samples, strict=True))
        records[layer] = Record(q, k, v, mask, None, q.shape[-1] ** -0.5, False)
    return TokenView(
        tokens=torch.zeros(len(counts), most, 4) if tokens is None else tokens[:, 1:],
        valid=valid,
        visual=valid,
        index=index,
        position=index,
        size=torch.ones(valid.shape),
        prefix=torch.zeros(len(counts), 1, 4) if tokens is None else tokens[:, :1],
        ids=[str(b) for b in range(len(counts))],
        layer=place,
        attended={k: cls_rows(r) for k, r in records.items()},
        records=records,
        columns=dict.fromkeys(records, index + 1),
        values={k: r.value[:, :, 1:] for k, r in records.items()},
    )


def kept(r: Reduction | None) -> list[list[int]]:
    """Per sample what stays, in output order."""
    assert r is not None
    valid = torch.ones_like(r.keep, dtype=torch.bool) if r.valid is None else r.valid
    return [k[v].tolist() for k, v in zip(r.keep, valid, strict=True)]


@dataclass(frozen=True)
class Chain(Reducer):
    """A plan for the vision tower first, then the reducer under test in the language model."""

    first: Plan = field(default_factory=Plan)
    then: Reducer = field(default_factory=Reducer)

    @property
    def reads_text(self) -> bool:
        return self.then.reads_text

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        return [*self.first.sites(shape), *self.then.sites(shape)]

    def start(self, host: Host) -> Any:
        return self.then.start(host)

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction | None:
        inside = site.place in (Place.PROMPT, Place.CACHE)
        return (self.then if inside else self.first).reduce(site, view, state)


class Evicting:
    """An oracle policy, H2O's: column sums of the attention of full runs, the reference's rule."""

    def __init__(self, reducer: H2O, scope: range | None, alive: list[Tensor], length: int) -> None:
        self.reducer, self.scope, self.alive, self.length = reducer, scope, alive, length
        self.gone: dict[tuple[int, int], set[int]] = {}
        self.scores: dict[tuple[int, int], dict[int, float]] = {}
        self.held: dict[int, int] = {}

    def __call__(self, layer: int, step: int, attention: Tensor) -> Tensor:
        length = attention.shape[-1]
        alive = [t for t in range(length) if bool(self.alive[layer][t])]
        scope = alive if self.scope is None else [t for t in alive if t in self.scope]
        first = [t for t in scope if t < self.length]
        heavy, recent = self.reducer.heavy, self.reducer.recent
        numbers = isinstance(heavy, int) and isinstance(recent, int)
        size = h2o.Budget(int(heavy), int(recent)) if numbers else h2o.budget(len(first), heavy, recent)
        queries = alive if step == 0 else [length - 1]
        held: list[list[int]] = []
        for g in range(KV_HEADS):
            gone = self.gone.setdefault((layer, g), set())
            scores = self.scores.setdefault((layer, g), {})
            held.append([t for t in scope if t not in gone])
            group = range(g * HEADS // KV_HEADS, (g + 1) * HEADS // KV_HEADS)
            for t in held[g]:
                scores[t] = scores.get(t, 0.0) + float(attention[group][:, queries, t].sum())
        for g in range(KV_HEADS):
            scores = self.scores[layer, g]
            if self.reducer.heads == "shared":
                scores = {t: sum(self.scores[layer, h][t] for h in range(KV_HEADS)) for t in held[g]}
            kept = h2o.evict(held[g], scores, size)
            self.gone[layer, g] |= set(held[g]) - set(kept)
        self.held[layer] = len(alive) - len(self.gone[layer, 0])
        return torch.tensor([[t in self.gone[layer, g] for t in range(length)] for g in range(KV_HEADS)])
