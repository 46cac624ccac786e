"""Precision and recall of kept patches, spread of counts, rank correlation: by hand and beside scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from prunegrid.stats.kept import Kept, kept
from prunegrid.stats.means import means, overlap, spread
from prunegrid.stats.spearman import spearman

SIDE, P = 4, 16


def test_precision_and_recall_by_hand() -> None:
    k, m = np.zeros((3, P)), np.zeros((3, P))
    k[0, [0, 1, 2, 3]] = 1
    m[0, [2, 3, 4, 5, 6, 7, 8, 9]] = (
        1  # 2 of 4 kept lie on it; 2 of its 8 patches are kept; it is half the picture
    )
    m[1, [5]] = 1  # nothing is kept
    k[2, [1]] = 1  # no object
    precision, recall, base = overlap(k, m)
    assert precision[0] == 0.5 and recall[0] == 0.25 and base[0] == 0.5
    assert np.isnan(precision[1]) and recall[1] == 0
    assert precision[2] == 0 and np.isnan(recall[2])


def test_a_patch_in_half_of_the_heads_counts_half() -> None:
    k, m = np.zeros((1, P)), np.zeros((1, P))
    k[0, 0], k[0, 1], m[0, 0] = 0.5, 1, 1
    precision, recall, _ = overlap(k, m)
    assert precision[0] == pytest.approx(1 / 3) and recall[0] == 0.5


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="must both be"):
        overlap(np.zeros((2, P)), np.zeros((2, P + 1)))


def test_a_blind_choice_has_the_base_rate() -> None:
    rng = np.random.default_rng(0)
    m = (rng.random((400, P)) < 0.3).astype(float)
    k = np.zeros_like(m)
    for row in k:
        row[rng.permutation(P)[:5]] = 1
    precision, recall, base = overlap(k, m)
    assert np.mean(precision) == pytest.approx(base.mean(), abs=0.03)
    assert np.nanmean(recall) == pytest.approx(5 / P, abs=0.03)


def test_means_leave_out_what_is_not_defined_and_resample_clusters() -> None:
    clusters = [f"c{i // 2}" for i in range(80)]
    value = np.array([float(i // 2 % 2) for i in range(80)])
    value[:8] = np.nan
    found = means({"a": value, "nothing": np.full(80, np.nan)}, clusters, 2000)
    assert set(found) == {"a"}
    assert found["a"].value == pytest.approx(np.nanmean(value))
    alone = means({"a": value}, [str(i) for i in range(80)], 2000)["a"]
    assert found["a"].high - found["a"].low > 1.2 * (alone.high - alone.low)  # pairs say less than singles


def test_spread_by_hand() -> None:
    found = spread([2, 4, 6, 8], ["a", "b", "c", "d"], floor=4, replicates=500)
    assert found["mean"].value == 5
    assert found["variation"].value == pytest.approx(np.std([2, 4, 6, 8]) / 5)
    assert found["under"].value == 0.25
    assert spread([0, 0], ["a", "b"], 4, 100)["variation"].value == 0
    same = spread([36] * 5, list("abcde"), 4, 100)["variation"]
    assert (same.value, same.low, same.high) == (0, 0, 0)


@pytest.mark.parametrize("seed", range(3))
def test_spearman_is_scipys_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(2, 7, 60)
    y = x + rng.integers(0, 9, 60)
    found = spearman(x, y, [str(i) for i in range(60)], 500)
    assert found.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.low < found.value < found.high and found.p is not None and found.p < 0.05


def test_each_resample_is_ranked_anew() -> None:
    """The same draws by hand: samples written out as often as they were drawn."""
    rng = np.random.default_rng(5)
    x, y = rng.integers(0, 4, 12), rng.integers(0, 9, 12)
    clusters = [str(i // 2) for i in range(12)]
    found = spearman(x, y, clusters, 300, seed=7)
    from prunegrid.stats.bootstrap import weights

    drawn = []
    for row in np.concatenate(list(weights(6, 300, 7))):
        again = np.repeat(np.arange(12), np.repeat(row.astype(int), 2))
        drawn.append(stats.spearmanr(x[again], y[again]).statistic)
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_no_correlation_without_variation() -> None:
    found = spearman([3, 3, 3], [1, 2, 3], ["a", "b", "c"], 50)
    assert np.isnan(found.value) and found.p is None


def test_what_a_trace_keeps() -> None:
    what = kept({"kept": {"features": [3, 1, -1]}, "members": [[3, 4], [1], [0, 2]]}, SIDE)
    assert what.patches == {1, 3} and what.merged == 1
    assert what.members == ((3, frozenset({3, 4})), (1, frozenset({1})), (-1, frozenset({0, 2})))
    survive, represented = what.survive(P), what.represented(P)
    assert survive is not None and np.flatnonzero(survive).tolist() == [1, 3]
    assert represented is not None and np.flatnonzero(represented).tolist() == [0, 1, 2, 3, 4]


def test_without_mixing_nothing_else_is_represented() -> None:
    assert kept({"kept": {"features": [3, 1]}}, SIDE).represented(P) is None
    assert Kept(None, 4, "features").survive(P) is None


def test_what_a_cache_keeps() -> None:
    trace = {"kept": {}, "visual": [P], "cached": [100] * 4 + [50] * 4 + [0] * 8}
    survive = kept(trace, SIDE).survive(P)
    assert survive is not None and survive.sum() == 4 + 2
    assert kept(trace, SIDE).place == "cache"


def test_lists_that_do_not_fit_the_tokens_are_no_answer() -> None:
    with pytest.raises(ValueError, match="zip"):
        kept({"kept": {"features": [3, 1]}, "members": [[3]]}, SIDE)
