"""IVTP's second-stage scores against whole matrices with one more row and column: heavy-tailed, ragged, left-padded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from prunegrid.reduce import TokenView
from prunegrid.reduce.methods.ivtp import IVTP
from prunegrid.reduce.methods.rollout import ghost_token
from reduce import made
from reference import ivtp as reference

Shape = tuple[int, int, int]  # text before, patches, text behind


def drawn(layer: int, b: int, kind: str, *size: int) -> Tensor:
    seed = 1000 * layer + 10 * b + len(kind)
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def values(layer: int, b: int, length: int) -> Tensor:
    """[H, T, Dh], a few long ones."""
    loud = drawn(layer, b, "len", length).abs().clamp_min(0.05) ** -0.7
    return drawn(layer, b, "value", 4, length, 8) * loud[:, None]


def whole(s: made.Prompt, layer: int, b: int) -> Tensor:
    """[H, T + 1, T + 1] with the ghost last."""
    ghost = drawn(layer, b, "query", 4, 8) * 2 + s.q.mean(1), drawn(layer, b, "k", 2, 8) * 2
    return reference.with_ghost(s.q, s.k, *ghost, list(range(s.visual.stop)))


def batched(samples: dict[int, list[made.Prompt]]) -> tuple[TokenView, dict[int, Tensor]]:
    """The view behind the group's layers, and the ghost's rows in it."""
    top, most = max(samples), max(s.q.shape[1] for s in next(iter(samples.values())))
    views = {layer: made.prompt_view(mine, layer, None) for layer, mine in samples.items()}
    rows = {}
    for layer, mine in samples.items():
        row = torch.zeros(len(mine), most + 1, dtype=torch.float64)
        for b, s in enumerate(mine):
            full = whole(s, layer, b).mean(0)[-1]
            row[b, -len(full) :] = full
        rows[layer] = row.float()
    columns = views[top].columns[top]
    norms = torch.zeros(len(columns), 4, columns.shape[1], 8)
    for b, s in enumerate(samples[top]):
        n, shift = len(s.visual), most - s.q.shape[1]
        assert (columns[b, :n] - shift).tolist() == list(s.visual)
        norms[b, :, :n] = values(top, b, s.q.shape[1])[:, s.visual.start : s.visual.stop].float()
    found = replace(
        views[top],
        records={layer: v.records[layer] for layer, v in views.items()},
        columns={layer: v.columns[layer] for layer, v in views.items()},
        values={top: norms},
    )
    return found, rows


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        ({}, 3),
        ({}, 2),
        ({}, 1),
        ({"attention": "single"}, 3),
        ({"aggregation": "mean"}, 3),
        ({"aggregation": "max"}, 2),
        ({"aggregation": "multiply"}, 3),
        ({"values": False}, 3),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "shapes",
    [[(5, 36, 7)], [(3, 12, 2), (1, 25, 9), (6, 9, 4), (2, 16, 1)], [(4, 20, 3)] * 4],
    ids=["1", "ragged", "even"],
)
def test_scores_and_choice(options: dict[str, Any], layers: int, shapes: list[Shape]) -> None:
    reducer = IVTP(5, **options)
    group = range(layers)
    samples = {i: [made.prompt(*shape, seed=10 * i + b) for b, shape in enumerate(shapes)] for i in group}
    view, rows = batched(samples)
    scoring = list(group) if reducer.attention == "rollout" else [layers - 1]
    got = reducer.score(view, scoring, ghost_token(view, rows))
    how: Any = reducer.aggregation if reducer.attention == "rollout" else "top"
    for b, s in enumerate(samples[0]):
        length, n = s.q.shape[1], len(s.visual)
        relevance = reference.aggregate([whole(samples[i][b], i, b) for i in group], how)
        norms = values(layers - 1, b, length) if reducer.values else torch.ones(1, length, 1)
        want = reference.scores(relevance, norms, length, list(s.visual))
        mine = got[b, :n].double() / got[b, :n].double().sum()
        torch.testing.assert_close(mine, torch.tensor(want, dtype=torch.float64), rtol=1e-4, atol=1e-7)
        chosen = mine.argsort(descending=True, stable=True)[:5].sort().values.tolist()
        assert chosen == reference.keep(want, 5)
