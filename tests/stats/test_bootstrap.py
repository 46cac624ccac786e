"""Resampling: the same as drawing rows by hand, the right coverage, the right sanity values."""

import time

import numpy as np
import pytest

from prunegrid.stats.bootstrap import bootstrap, paired_bootstrap, resampled_sums, weights
from prunegrid.stats.interval import percentile_interval
from prunegrid.stats.seeds import seed_bootstrap
from prunegrid.tasks import Record
from prunegrid.tasks.mme import Mme
from prunegrid.tasks.pope import Pope

POPE = Pope(file="f", prompt="")
MME = Mme(file="f", prompt="", perception=("count", "color"), cognition=())


def mean(sums: np.ndarray) -> dict:
    """Mean of [..., (n, total)]."""
    return {"mean": sums[..., 1] / sums[..., 0]}


def coin(rng: np.random.Generator, clusters: int, chance: float, size: int = 1) -> np.ndarray:
    return np.stack([np.full(clusters, float(size)), rng.binomial(size, chance, clusters)], axis=1)


def pope_rows(rng: np.random.Generator, images: int, skill: float) -> list[dict]:
    rows = []
    for image in range(images):
        for split in ("random", "popular", "adversarial"):
            for k, answer in enumerate(("yes", "no", "no")):
                right = rng.random() < skill
                text = answer if right else {"yes": "no", "no": "yes"}[answer]
                record = Record(f"{image}{split}{k}", f"i{image}", text, answer, {"split": split})
                rows.append(POPE.judge(record, "official"))
    return rows


def mme_rows(rng: np.random.Generator, images: int, skill: float) -> list[dict]:
    rows = []
    for image in range(images):
        for subtask in ("count", "color"):
            for answer in ("yes", "no"):
                text = answer if rng.random() < skill else "?"
                meta = {"subtask": subtask, "pair": f"{subtask}/{image}"}
                rows.append(
                    MME.judge(
                        Record(f"{image}{subtask}{answer}", f"i{image}", text, answer, meta), "official"
                    )
                )
    return rows


@pytest.mark.parametrize(
    ("task", "make", "name"),
    [(POPE, pope_rows, "f1"), (POPE, pope_rows, "mcc"), (MME, mme_rows, "perception")],
)
def test_non_linear_metric_equals_brute_force(task, make, name) -> None:
    """Every replicate = the score of the rows drawn one by one, copies of a cluster under new names."""
    rows = make(np.random.default_rng(0), 12, 0.7)
    clusters, counts = task.counts(rows)
    (sums,) = resampled_sums(counts, replicates=25, seed=3)
    fast = task.metric(sums)[name]
    slow = []
    for draw in np.concatenate(list(weights(len(clusters), 25, 3))).astype(int):
        copies = []
        for cluster, times in zip(clusters, draw, strict=True):
            for k in range(times):
                for row in (row for row in rows if row["cluster"] == cluster):
                    new = {key: f"{row[key]}#{k}" for key in ("id", "cluster", "pair") if key in row}
                    copies.append({**row, **new})
        slow.append(task.score(copies)[name])
    assert fast == pytest.approx(np.array(slow), abs=1e-12)
    assert np.std(slow) > 0


def test_weights_are_multinomial_draws_of_one_stream() -> None:
    drawn = np.concatenate(list(weights(50, 4000, 1)))
    assert (drawn.sum(axis=1) == 50).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(50), abs=0.1)
    assert drawn.var() == pytest.approx(1 - 1 / 50, rel=0.02)
    assert (np.concatenate(list(weights(50, 4000, 1))) == drawn).all()
    assert not (np.concatenate(list(weights(50, 4000, 2))) == drawn).all()


def test_blocks_do_not_repeat_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prunegrid.stats.bootstrap._BLOCK", 100)
    drawn = list(weights(30, 10, 0))
    assert [len(block) for block in drawn] == [3, 3, 3, 1]
    assert len({tuple(row) for block in drawn for row in block}) == 10


def test_coverage_of_a_clustered_mean() -> None:
    """Clusters share a chance: an interval that drew questions instead would cover too little."""
    rng = np.random.default_rng(5)
    hits = naive = 0
    for trial in range(300):
        chances = rng.beta(1, 1, 80)
        counts = np.stack([np.full(80, 6.0), rng.binomial(6, chances)], axis=1)
        interval = bootstrap(counts, mean, replicates=400, seed=trial)["mean"]
        hits += interval.low <= 0.5 <= interval.high
        spread = 1.96 * np.sqrt(interval.value * (1 - interval.value) / 480)
        naive += abs(interval.value - 0.5) <= spread
    assert 0.91 <= hits / 300 <= 0.98
    assert naive / 300 < 0.85


def test_coverage_of_a_paired_difference() -> None:
    rng = np.random.default_rng(6)
    hits, widths, apart = 0, [], []
    for trial in range(300):
        easy = rng.random(120) < 0.6  # both methods agree on most questions
        flip = rng.random(120)
        ours = np.where(flip < 0.10, ~easy, easy)
        theirs = easy
        # E[ours - theirs] = 0.10 * (1 - 2 * 0.6)
        a, b = (np.stack([np.ones(120), x], axis=1).astype(float) for x in (ours, theirs))
        interval = paired_bootstrap(a, b, mean, replicates=400, seed=trial)["mean"]
        hits += interval.low <= 0.10 * (1 - 1.2) <= interval.high
        widths.append(interval.high - interval.low)
        apart.append(4 * np.sqrt(0.24 / 120 * 2))
    assert 0.91 <= hits / 300 <= 0.985
    assert np.mean(widths) < 0.6 * np.mean(apart)  # pairing is worth something


def test_identical_predictions_differ_by_exactly_nothing() -> None:
    counts = POPE.counts(pope_rows(np.random.default_rng(1), 20, 0.8))[1]
    for interval in paired_bootstrap(counts, counts, POPE.metric, replicates=200).values():
        assert (interval.value, interval.low, interval.high, interval.p) == (0, 0, 0, 1)


def test_difference_is_antisymmetric_and_found() -> None:
    rng = np.random.default_rng(2)
    good, bad = (POPE.counts(pope_rows(rng, 80, skill))[1] for skill in (0.9, 0.6))
    forth = paired_bootstrap(good, bad, POPE.metric, replicates=500)["f1"]
    back = paired_bootstrap(bad, good, POPE.metric, replicates=500)["f1"]
    assert forth.low > 0 and forth.p < 0.01
    assert (back.value, back.low, back.high) == pytest.approx((-forth.value, -forth.high, -forth.low))
    assert forth.value == POPE.metric(good.sum(0))["f1"] - POPE.metric(bad.sum(0))["f1"]


def test_p_values_of_equal_methods_are_uniform() -> None:
    rng = np.random.default_rng(7)
    p = [
        paired_bootstrap(coin(rng, 150, 0.5, 20), coin(rng, 150, 0.5, 20), mean, replicates=300, seed=i)[
            "mean"
        ].p
        for i in range(300)
    ]
    assert np.quantile(p, [0.1, 0.25, 0.5, 0.75, 0.9]) == pytest.approx([0.1, 0.25, 0.5, 0.75, 0.9], abs=0.09)


def test_ten_thousand_replicates_of_pope_take_seconds() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, (500, 18)).astype(float)
    start = time.perf_counter()
    bootstrap(counts, POPE.metric, replicates=10_000)
    assert time.perf_counter() - start < 5


def test_interval_of_a_metric_that_is_often_undefined_is_infinite() -> None:
    known = np.linspace(0, 1, 1000)
    few, many = known.copy(), known.copy()
    few[:20], many[:30] = np.nan, np.nan
    assert np.isfinite(percentile_interval(0.5, few).low)
    unknown = percentile_interval(0.5, many)
    assert (unknown.low, unknown.high) == (-np.inf, np.inf)
    assert unknown.to_dict() == {
        "value": 0.5,
        "low": None,
        "high": None,
        "se": None,
        "level": 0.95,
        "p": None,
    }


def test_percentiles_and_level() -> None:
    draws = np.arange(1001.0)
    interval = percentile_interval(500, draws, 0.9)
    assert (interval.low, interval.high, interval.level) == pytest.approx((50, 950, 0.9))
    assert interval.se == pytest.approx(draws.std(ddof=1))
    with pytest.raises(ValueError, match="level 95"):
        percentile_interval(0, draws, 95)


@pytest.mark.parametrize("bad", [np.zeros((0, 2)), np.zeros(3), [[1, np.nan]]])
def test_bad_counts(bad) -> None:
    with pytest.raises(ValueError, match="counts must be"):
        bootstrap(bad, mean)


def test_different_questions_are_not_paired() -> None:
    with pytest.raises(ValueError, match="align the clusters"):
        paired_bootstrap(np.ones((3, 2)), np.ones((4, 2)), mean)


def test_seeds_add_variance() -> None:
    rng = np.random.default_rng(8)
    same = [coin(rng, 200, 0.5, 5)] * 5
    apart = [coin(rng, 200, chance, 5) for chance in (0.3, 0.4, 0.5, 0.6, 0.7)]
    one = bootstrap(same[0], mean, replicates=500)["mean"]
    alike = seed_bootstrap(same, mean, replicates=500)["mean"]
    assert (alike.value, alike.low, alike.high) == pytest.approx((one.value, one.low, one.high))
    spread = seed_bootstrap(apart, mean, replicates=500)["mean"]
    assert spread.high - spread.low > 3 * (one.high - one.low)
    assert spread.value == pytest.approx(np.mean([mean(c.sum(0))["mean"] for c in apart]))
