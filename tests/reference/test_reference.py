"""The references against every fact about the released algorithm that was measured independently of them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from . import inputs
from .baselines import sequential, spatial_grid, spatial_pool, topk_cls
from .class_attention import class_attention_per_head, class_attention_released
from .prumerge import (
    iqr_outliers,
    percentile,
    prumerge,
    prumerge_plus_adaptive,
    prumerge_plus_fixed,
    prumerge_plus_paper,
    select_topk,
)

# Expected total of adaptive PruMerge+ at N = 576, remainder token included, if outliers fall anywhere alike.
ADAPTIVE = {
    16: 64,
    24: 94,
    28: 120,
    32: 124,
    35: 144,
    36: 145,
    40: 175,
    48: 181,
    52: 228,
    64: 236,
    65: 322,
    96: 337,
}


def vectorised(x: Tensor, keys: Tensor, a: Tensor, kept: list[int], k: int = 32) -> Tensor:
    """The merge as one similarity matrix and one product; an independent form of the loop. -> [m + 1, C]."""
    index = torch.tensor(kept)
    unit = F.normalize(keys, dim=-1)
    similarity = unit[index] @ unit.T
    similarity.scatter_(1, index[:, None], -torch.inf)
    near = similarity.topk(k, dim=1).indices
    weights = torch.zeros_like(similarity).scatter_(1, near, a[near])
    rest = torch.ones_like(a).index_fill(0, index, 0)
    return torch.cat([x[index] + weights @ x, ((a * rest) @ x)[None]])


@pytest.mark.parametrize("patches", [576, 144])
def test_inputs_have_the_outliers_asked_for(patches: int) -> None:
    counts = inputs.outlier_counts(patches)
    assert (counts[0], counts[-1]) == (10 * patches // 576, 140 * patches // 576)
    for count in counts:
        a = inputs.class_attention(patches, count, seed=count)
        found = iqr_outliers(a)
        assert len(found) == count
        assert found == select_topk(a, count), "the outliers are the top-m"


def test_percentile_is_the_linear_one() -> None:
    values = inputs.class_attention(576, 40).tolist()
    for percent in (0, 25, 60.3, 75, 100):
        assert percentile(values, percent) == pytest.approx(np.percentile(values, percent), rel=1e-14)


def test_outliers_are_strictly_above_the_fence() -> None:
    a = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 0.0])
    a[8] = 12.0  # Q1 = 2, Q3 = 6: the fence is exactly 12
    assert iqr_outliers(a) == []
    a[8] = 12.001
    assert iqr_outliers(a) == [8]


def test_released_logits_are_four_times_the_mean_of_the_heads() -> None:
    heads, width, patches = 16, 64, 144
    generator = torch.Generator().manual_seed(3)
    q = torch.randn(heads * width, generator=generator, dtype=torch.float64)
    k = torch.randn(1 + patches, heads * width, generator=generator, dtype=torch.float64)
    per_head = torch.einsum("hd,nhd->hn", q.view(heads, width), k.view(-1, heads, width)) * width**-0.5
    expected = (4 * per_head.mean(0)).softmax(-1)[1:]
    torch.testing.assert_close(class_attention_released(q, k), expected)
    true = class_attention_per_head(q.view(heads, width), k.view(-1, heads, width).transpose(0, 1))
    torch.testing.assert_close(true, per_head.softmax(-1).mean(0)[1:])
    assert not torch.allclose(true, expected, rtol=0.5), "the two readings differ"


def test_query_and_keys_give_the_attention_asked_for() -> None:
    a = inputs.class_attention(144, 10)
    q, k = inputs.query_and_keys(a, heads=4, head_width=8)
    torch.testing.assert_close(class_attention_per_head(q, k), a)
    q, k = inputs.query_and_keys(a, heads=1, head_width=32)
    torch.testing.assert_close(class_attention_released(q[0], k[0]), a)


@pytest.mark.parametrize("outliers", [2, 10, 35])
def test_the_loop_equals_the_vectorised_form(outliers: int) -> None:
    x, keys, a = inputs.image(144, 32, outliers)
    found = prumerge(x, keys, a)
    assert found.tokens.shape == (outliers + 1, 32)
    torch.testing.assert_close(found.tokens, vectorised(x, keys, a, found.kept))
    torch.testing.assert_close(found.tokens, found.weights @ x)


def test_switches_change_what_they_name() -> None:
    x, keys, a = inputs.image(144, 32, 10)
    centre = torch.arange(10)
    released = prumerge(x, keys, a)
    assert released.weights[centre, released.kept].eq(1).all()
    assert all((released.weights[p] > 0).sum() == 33 for p in range(10)), "the centre and 32 neighbours"
    bare = prumerge(x, keys, a, centre=False, remainder=False)
    assert bare.weights[centre, bare.kept].eq(0).all() and bare.tokens.shape[0] == 10
    raster = prumerge(x, keys, a, order="raster")
    assert raster.kept == sorted(released.kept) != released.kept
    torch.testing.assert_close(raster.tokens[-1], released.tokens[-1])
    sums = prumerge(x, keys, a, normalise=True).weights.sum(1)
    torch.testing.assert_close(sums, torch.ones(11, dtype=x.dtype))
    plain = prumerge(x, keys, a, merge=False, remainder=False)
    assert torch.equal(plain.tokens, x[plain.kept])
    longer = keys * (1 + 99 * a[:, None])
    assert torch.equal(prumerge(x, longer, a).weights, released.weights), "cosine ignores the keys' lengths"
    assert not torch.equal(prumerge(x, longer, a, similarity="dot").weights, released.weights)
    assert prumerge(x, keys, a, select="topk", keep=16).kept[:10] == released.kept


def test_without_outliers_the_release_keeps_the_remainder_alone() -> None:
    x, keys, a = inputs.image(144, 8, 0)
    assert prumerge(x, keys, a, minimum=0).tokens.shape == (1, 8)
    assert prumerge(x, keys, a).kept == select_topk(a, 1)
    with pytest.raises(ZeroDivisionError):
        prumerge_plus_adaptive(x, keys, a)


@pytest.mark.parametrize(("outliers", "expected"), ADAPTIVE.items())
def test_adaptive_plus_is_a_staircase(outliers: int, expected: int) -> None:
    """The count per image exactly; the table is its expectation over where the outliers lie."""
    stride = int(int(1 / (outliers / 576)) / 3)
    spatial = set(range(0, 575, stride))
    assert round(outliers + len(spatial) * (1 - outliers / 576) + 1) == expected
    x, keys, a = inputs.image(576, 4, outliers, seed=outliers)
    found = prumerge_plus_adaptive(x, keys, a, k=1)
    overlap = len(spatial & set(iqr_outliers(a)))
    assert found.tokens.shape[0] == outliers + len(spatial) - overlap + 1
    assert found.kept[:outliers] == iqr_outliers(a) and found.kept[outliers:] == sorted(found.kept[outliers:])


def test_adaptive_plus_prunes_nothing_from_97_outliers_on() -> None:
    """Every patch but the last one is sampled; the last one only survives as an outlier."""
    seen = set()
    for seed, last_is_outlier in ((0, False), (1, True)):
        x, keys, a = inputs.image(576, 4, 97, seed=seed)
        place = a.argmax() if last_is_outlier else a.argmin()
        a[torch.tensor([575, place])] = a[torch.tensor([place, 575])]
        found = prumerge_plus_adaptive(x, keys, a, k=1)
        assert len(set(found.kept)) == 575 + last_is_outlier
        seen.add(found.tokens.shape[0])
    assert seen == {576, 577}


def test_fixed_plus_gives_145_tokens_and_needs_matching_counts() -> None:
    x, keys, a = inputs.image(576, 4, 40)
    found = prumerge_plus_fixed(x, keys, a, k=1)
    assert found.tokens.shape[0] == 145 and found.kept[72:] == list(range(4, 576, 8))
    assert prumerge_plus_fixed(x, keys, a, ratio=1 / 4, k=1).tokens.shape[0] == 289
    with pytest.raises(ValueError, match="288 by attention but 287 by place"):
        prumerge_plus_fixed(x, keys, a, ratio=1 / 2, k=1)


def test_duplicates_of_fixed_plus_have_their_two_side_effects() -> None:
    """Of 12 patches at ratio 1/4, [3, 9, 6] by attention meet [2, 6, 10] by place: 6 stands twice."""
    x, keys, _ = inputs.image(12, 4, 0)
    a = torch.full((12,), 0.01, dtype=x.dtype)
    a[[3, 9, 6]] = torch.tensor([0.3, 0.2, 0.1], dtype=x.dtype)
    found = prumerge_plus_fixed(x, keys, a, ratio=1 / 4, k=1)
    assert found.kept == [3, 9, 6, 2, 6, 10]
    assert found.weights[2, 6] == found.weights[4, 6] == 1 + a[6], "a copy is its own nearest neighbour"
    assert torch.equal(found.tokens[2], found.tokens[4])
    missing = [j for j in range(12) if j not in found.kept and found.weights[-1, j] == 0]
    assert missing == [0], "the complement lost its smallest index"


@pytest.mark.parametrize("outliers", [10, 32, 140])
def test_paper_plus_adds_as_many_as_there_are_outliers(outliers: int) -> None:
    x, keys, a = inputs.image(576, 4, outliers)
    exact = prumerge_plus_paper(x, keys, a, spatial="pruned", k=1)
    assert len(exact.kept) == len(set(exact.kept)) == exact.tokens.shape[0] == 2 * outliers
    grid = prumerge_plus_paper(x, keys, a, k=1)
    assert outliers < len(grid.kept) == len(set(grid.kept)) <= 2 * outliers
    assert grid.weights[0, grid.kept[0]] == 0, "the paper's sum leaves the centre out"


def test_paper_plus_samples_the_middle_of_each_stretch() -> None:
    x, keys, a = inputs.image(144, 4, 3, seed=5)
    assert set(prumerge_plus_paper(x, keys, a).kept) == set(iqr_outliers(a)) | {24, 72, 120}


def test_baselines_by_hand() -> None:
    assert sequential(576, 3) == [0, 1, 2]
    assert topk_cls(torch.tensor([0.1, 0.4, 0.2, 0.3]), 2) == [1, 3]
    assert spatial_grid(24, 6, 6)[:7] == [50, 54, 58, 62, 66, 70, 146]
    assert spatial_grid(4, 1, 2) == [9, 11] and spatial_grid(4, 2, 1) == [6, 14]
    assert len(set(spatial_grid(24, 5, 8))) == 40
    x = torch.arange(16.0)[:, None]
    assert spatial_pool(x, 4, 2).squeeze(1).tolist() == [2.5, 4.5, 10.5, 12.5]
    image = torch.randn(144, 3, generator=torch.Generator().manual_seed(0))
    expected = F.adaptive_avg_pool2d(image.T.reshape(1, 3, 12, 12), 8).reshape(3, 64).T
    torch.testing.assert_close(spatial_pool(image, 12, 8), expected)
