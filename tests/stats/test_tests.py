"""McNemar, Holm, swaps, retention, power, alignment: values known by hand or by enumeration."""

from itertools import product
from math import comb

import numpy as np
import pytest

from prunegrid.stats.bootstrap import paired_bootstrap
from prunegrid.stats.holm import holm
from prunegrid.stats.mcnemar import discordant, mcnemar
from prunegrid.stats.pairing import align
from prunegrid.stats.power import power, smallest_difference
from prunegrid.stats.retention import retention
from prunegrid.stats.seeds import seed_spread
from prunegrid.stats.swap import swap_test


def mean(sums: np.ndarray) -> dict:
    return {"mean": sums[..., 1] / sums[..., 0]}


def answers(*right: int) -> np.ndarray:
    return np.array([[1, r] for r in right], dtype=float)


@pytest.mark.parametrize(
    ("b", "c", "exact", "mid"),
    [
        (0, 0, 1, 1),
        (1, 0, 1, 0.5),
        (0, 5, 2 / 32, 1 / 32),
        (1, 6, 2 * 8 / 128, 2 * 1 / 128 + 7 / 128),
        (3, 3, 1, 1),
        (8, 2, 2 * 56 / 1024, 2 * 11 / 1024 + 45 / 1024),
    ],
)
def test_mcnemar_by_hand(b: int, c: int, exact: float, mid: float) -> None:
    for first, second in ((b, c), (c, b)):
        assert mcnemar(first, second) == pytest.approx(exact)
        assert mcnemar(first, second, mid=True) == pytest.approx(mid)


def test_mcnemar_with_many_questions() -> None:
    n, m = 3000, 1400
    exact = 2 * sum(comb(n, k) for k in range(m + 1)) / 2**n  # whole numbers
    assert mcnemar(m, n - m) == pytest.approx(exact, rel=1e-9)


def test_mcnemar_is_level_and_mid_p_less_conservative() -> None:
    """Over every outcome of 12 discordant questions: P(p <= .05) is at most .05; mid-p comes nearer."""
    weight = [comb(12, k) / 2**12 for k in range(13)]
    level = sum(w for k, w in enumerate(weight) if mcnemar(k, 12 - k) <= 0.05)
    mid = sum(w for k, w in enumerate(weight) if mcnemar(k, 12 - k, mid=True) <= 0.05)
    assert level <= mid <= 0.05 and level > 0


def test_discordant_questions() -> None:
    assert discordant([1, 1, 0, 0, 1], [1, 0, 1, 1, 0]) == (2, 2)
    assert discordant(np.array([True, True]), np.array([False, True])) == (1, 0)
    with pytest.raises(ValueError, match="soft scores"):
        discordant([0.3, 1], [1, 1])
    with pytest.raises(ValueError, match="same questions"):
        discordant([1, 0], [1, 0, 1])
    with pytest.raises(ValueError, match="negative"):
        mcnemar(-1, 2)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == pytest.approx([1, 1])
    assert holm([]).tolist() == []
    for bad in ([0.1, np.nan], [1.2], [-0.1], 0.5):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            holm(bad)


def test_holm_keeps_the_family_wise_level() -> None:
    p = np.random.default_rng(0).random((4000, 6))
    assert np.mean([holm(row).min() <= 0.05 for row in p]) == pytest.approx(0.05, abs=0.012)


def test_swap_test_equals_enumeration() -> None:
    ours, theirs = answers(1, 1, 1, 1, 0, 1, 0, 1), answers(0, 1, 0, 0, 0, 1, 1, 0)
    gaps = (ours - theirs)[:, 1]
    every = [
        abs(sum(s * g for s, g in zip(signs, gaps, strict=True))) for signs in product((1, -1), repeat=8)
    ]
    exact = np.mean(np.array(every) >= abs(gaps.sum()))
    assert swap_test(ours, theirs, mean, replicates=20_000)["mean"] == pytest.approx(exact, abs=0.01)
    assert exact == pytest.approx(mcnemar(4, 1))  # on 0/1 questions the two tests are the same


def test_swap_test_of_equal_methods_is_uniform_and_of_the_same_answers_one() -> None:
    rng = np.random.default_rng(3)
    p = []
    for trial in range(300):
        a, b = (np.stack([np.full(60, 9.0), rng.binomial(9, 0.6, 60)], axis=1) for _ in range(2))
        p.append(swap_test(a, b, mean, replicates=199, seed=trial)["mean"])
    assert np.quantile(p, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.09)
    assert swap_test(a, a, mean, replicates=50) == {"mean": 1}


def test_retention_by_hand_and_over_the_floor() -> None:
    ours, full, blind = answers(1, 1, 1, 0, 0, 0), answers(1, 1, 1, 1, 1, 0), answers(1, 1, 0, 0, 0, 0)
    plain = retention(ours, full, mean, replicates=200)["mean"]
    over = retention(ours, full, mean, floor=blind, replicates=200)["mean"]
    assert plain.value == pytest.approx(3 / 5) and over.value == pytest.approx((3 - 2) / (5 - 2))


def test_retention_interval_draws_all_runs_together() -> None:
    rng = np.random.default_rng(4)
    full = np.stack([np.full(100, 10.0), rng.binomial(10, 0.8, 100)], axis=1)
    itself = retention(full, full, mean, replicates=300)["mean"]
    assert (itself.value, itself.low, itself.high) == (1, 1, 1)
    half = full * [1, 0.5]
    kept = retention(half, full, mean, floor=full * [1, 0.25], replicates=300)["mean"]
    assert (kept.value, kept.low, kept.high) == pytest.approx((1 / 3, 1 / 3, 1 / 3))


def test_nothing_to_retain_is_not_a_number_and_not_bounded() -> None:
    ours = answers(1, 0, 1, 0)
    same = retention(ours, ours, mean, floor=ours, replicates=100)["mean"]
    assert np.isnan(same.value) and same.low == -np.inf
    below = retention(ours, ours, mean, floor=answers(1, 1, 1, 0), replicates=100)["mean"]
    assert np.isnan(below.value)
    barely = retention(answers(*[1, 0] * 20), answers(*[1, 0, 1] * 13, 1), mean, floor=answers(*[0, 1] * 20))[
        "mean"
    ]
    assert np.isfinite(barely.value) and barely.high == np.inf


def test_smallest_difference_is_found_as_often_as_asked() -> None:
    found = smallest_difference(2.0)
    assert found == pytest.approx(2 * (1.959964 + 0.841621), abs=1e-5)
    assert power(found, 2.0) == pytest.approx(0.8, abs=1e-4)
    assert power(0, 1) == pytest.approx(0.05) and power(-3, 1) == pytest.approx(power(3, 1))
    with pytest.raises(ValueError, match="se -1"):
        smallest_difference(-1)
    with pytest.raises(ValueError, match="must lie between"):
        smallest_difference(1, alpha=0)
    with pytest.raises(ValueError, match="se 0"):
        power(1, 0)


def test_seed_spread() -> None:
    assert seed_spread([1.0, 2.0, 3.0]) == {"n": 3, "mean": 2, "sd": 1, "min": 1, "max": 3}
    assert np.isnan(seed_spread([1.0])["sd"])
    with pytest.raises(ValueError, match="per seed"):
        seed_spread([1.0, np.nan])


def test_align_by_name() -> None:
    a, b = align(["x", "y"], answers(1, 0), ["y", "x"], answers(0, 1))
    assert (a == b).all()
    assert paired_bootstrap(a, b, mean, replicates=10)["mean"].value == 0
    with pytest.raises(ValueError, match=r"2 clusters are in one run only \(first: y, z\)"):
        align(["x", "y"], answers(1, 0), ["x", "z"], answers(0, 1))
    with pytest.raises(ValueError, match="2 cluster names, 1 distinct"):
        align(["x", "x"], answers(1, 0), ["x", "y"], answers(0, 1))
