"""IVTP's first stage against the slow reference with whole matrices; the published counts; the tiny LLaVA."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from ivtp_oracle import matrix, scores, tower
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Host, Place
from prunegrid.reduce.methods.ivtp import IVTP
from prunegrid.reduce.methods.rollout import class_rollout, value_norms
from prunegrid.reduce.methods.schedule import geometric, linear
from prunegrid.shape import llava15_7b
from reduce import made, oracle
from reduce.lab import PATCHES, SOURCE, Inputs, answer, batch, close, one, prompt_of
from reference import ivtp as reference

pytestmark = pytest.mark.usefixtures("no_grad")
Model = LlavaForConditionalGeneration
NEW = 3
FOUR = batch((3, 7, 5, 1), 3, (2, 1, 4, 3))


def first(**options: Any) -> IVTP:
    """The first stage alone."""
    return IVTP(stages="first", **options)


def scored(layers: list[Tensor], values: Tensor | None, options: dict[str, Any]) -> list[float]:
    return scores(layers, values, options, 0, range(1, layers[0].shape[1]))


def test_paper_scale_counts() -> None:
    """Ratio fits the published FLOPs; 8 prunes in the tower, 4 more in the language model; IVTP-V: all 8."""
    assert geometric(576, 64, 12) == [480, 399, 333, 277, 231, 192, 160, 133, 111, 92, 77, 64]
    assert linear(576, 64, 12)[7] == 235
    for patches, target, prunes in itertools.product((144, 576), (16, 64, 128), (1, 8, 12)):
        assert geometric(patches, target, prunes) == reference.counts(patches, target, prunes)
    reducer, shape = first(), llava15_7b()
    counts = reducer.counts(shape)
    assert counts == [438, 333, 253, 192, 146, 111, 84, 64]
    assert first(keep=133).counts(shape)[-1] == 133
    assert [list(g) for g in reducer.groups(shape)] == reference.groups(24, 3)
    assert [s.layer for s in reducer.sites(shape)] == [2, 5, 8, 11, 14, 17, 20, None]
    assert reducer.sites(shape)[-1].place == Place.FEATURES
    assert first(group="all").groups(shape) == [tuple(range(24))]
    assert first(peek=False).groups(shape)[-1] == (21, 22)
    assert [len(first(group=g).sites(shape)) for g in (2, 3, 4, 6)] == [12, 8, 6, 4]
    assert len(first(attention="layerwise").sites(shape)) == 24
    for keep in (16, 32, 64, 128, 256, 512):
        counts = first(keep=keep).counts(shape)
        assert counts == sorted(counts, reverse=True) and counts[-1] == keep


@pytest.mark.parametrize(
    ("counts", "layers"),
    [
        ([16], 4),
        ([144, 100, 37, 144], 3),
        ([576], 2),
        ([9, 2, 25, 4], 1),
        ([9, 2, 25, 4], 2),
        ([9, 2, 25, 4], 6),
    ],
    ids=str,
)
def test_row_rollout_is_the_row_of_the_whole_rollout(counts: list[int], layers: int) -> None:
    """Ragged batches included; the K x K products never happen in the fast one."""
    heads = 2 if counts == [576] else 4
    made_ = {
        i: [made.patches(n, heads, seed=10 * i + b) for b, n in enumerate(counts)] for i in range(layers)
    }
    view = made.patch_view(made_, place=layers - 1)
    row = class_rollout(view, range(layers)) * value_norms(view, layers - 1)
    for b, n in enumerate(counts):
        full = [matrix(made_[i][b].q, made_[i][b].k) for i in range(layers)]
        want = torch.tensor(scored(full, made_[layers - 1][b].v, {}), dtype=torch.float64)
        got = row[b, :n].double()
        torch.testing.assert_close(got / got.sum(), want, rtol=1e-4, atol=1e-7)


def test_normalising_changes_nothing_and_the_first_identity_does() -> None:
    layers = [matrix(*made.patches(30, seed=i)[:2]) for i in range(3)]
    full, eye = [a.mean(0) for a in layers], torch.eye(31, dtype=torch.float64)
    normal = (full[2] + eye) / 2 @ ((full[1] + eye) / 2 @ full[0])
    want = torch.tensor(scored(layers, None, {}), dtype=torch.float64)
    torch.testing.assert_close(normal[0, 1:] / normal[0, 1:].sum(), want)
    other = (full[2] + eye) @ (full[1] + eye) @ (full[0] + eye)
    assert (other[0, 1:] / other[0, 1:].sum() / want - 1).abs().max() > 0.01


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"attention": "single"},
        {"attention": "layerwise"},
        {"aggregation": "mean"},
        {"aggregation": "max"},
        {"aggregation": "multiply"},
        {"values": False},
        {"group": 2},
        {"group": 6},
    ],
    ids=str,
)
def test_every_switch_selects_as_whole_matrices_do(options: dict[str, Any]) -> None:
    reducer, shape = first(**options), llava15_7b()
    site, group = reducer.sites(shape)[0], reducer.groups(shape)[0]
    state = reducer.start(Host(shape))
    for patches in (30, 80):
        samples = {i: [made.patches(patches, 2, seed=10 * i + b) for b in range(2)] for i in group}
        got = made.kept(
            reducer.reduce(site, made.patch_view(samples), replace(state, counts={site: patches * 3 // 4}))
        )
        for b in range(2):
            full = [matrix(samples[i][b].q, samples[i][b].k) for i in group]
            values = samples[group[-1]][b].v if reducer.values else None
            s = scored(full, values, options)
            assert got[b] == reference.keep(s, patches * 3 // 4)


@pytest.mark.parametrize(
    ("options", "groups"),
    [
        ({"group": 2}, [[0, 1], [2, 3]]),
        ({"group": 2, "peek": False}, [[0, 1], [2]]),
        ({"group": 3}, [[0, 1, 2], [3]]),
        ({"group": "all"}, [[0, 1, 2, 3]]),
        ({"attention": "layerwise"}, [[0], [1], [2], [3]]),
        ({"group": 2, "attention": "single"}, [[0, 1], [2, 3]]),
        ({"group": 2, "aggregation": "max"}, [[0, 1], [2, 3]]),
    ],
    ids=str,
)
@pytest.mark.parametrize("inputs", [batch(), one(batch(), 1), FOUR], ids=["2", "1", "4"])
def test_the_model_end_to_end(
    model: Model, options: dict[str, Any], groups: list[list[int]], inputs: Inputs
) -> None:
    got = answer(model, first(keep=5, **options), inputs, NEW)
    counts = geometric(PATCHES, 5, len(groups))
    for b in range(len(inputs["input_ids"])):
        seen = tower(model, inputs["pixel_values"][b : b + 1], groups, counts, options)
        for group, alive in zip(groups, seen.history, strict=True):
            place = f"vision{group[-1]}" if group[-1] <= SOURCE else "features"
            assert got.trace.kept[place][b] == alive
        x, _ = prompt_of(model, inputs, b, seen.visual)
        close(got.logits[b], oracle.plain(model, x, got.tokens[b]))


def test_nothing_stays_behind(model: Model, inputs: Inputs) -> None:
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    answer(model, first(keep=4, group=2), inputs, 2)
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0}, "at least 1 token"),
        ({"keep": 17}, "more than the 16 tokens"),
        ({"group": 0}, "at least 1, or 'all'"),
        ({"group": 5}, "more than the 4 ViT layers"),
        ({"attention": "other"}, "must be 'rollout'"),
        ({"attention": "single", "aggregation": "max"}, "needs several layers"),
    ],
)
def test_impossible_settings_name_the_range(model: Model, inputs: Inputs, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        answer(model, first(**({"keep": 5} | options)), inputs, 1)
