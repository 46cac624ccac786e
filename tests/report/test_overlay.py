from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prunegrid.report.draw import coarse, shade
from prunegrid.report.overlay import (
    caption,
    gallery,
    panel,
    picture_file,
    question_of,
    samples_with_pictures,
)
from prunegrid.report.results import load_study
from prunegrid.report.style import plt
from prunegrid.stats.kept import Kept, kept

from . import synthetic

SIDE, PATCH = 4, 8
GREEN = Image.new("RGB", (SIDE * PATCH, SIDE * PATCH), (0, 200, 0))


def patch_of(pixels: np.ndarray, i: int) -> np.ndarray:
    y, x = divmod(i, SIDE)
    inner = pixels[y * PATCH : (y + 1) * PATCH, x * PATCH : (x + 1) * PATCH]
    return inner[2:-2, 2:-2]  # without the outline


def test_dropped_patches_fade_and_kept_ones_stay() -> None:
    pixels = shade(GREEN, Kept(frozenset({5, 10}), 0, "features"), SIDE, PATCH)
    for i in range(SIDE * SIDE):
        stayed = np.array_equal(patch_of(pixels, i), np.full((4, 4, 3), (0, 200, 0)))
        assert stayed == (i in (5, 10)), i
    red, green, blue = (int(v) for v in patch_of(pixels, 0)[0, 0])
    assert red == green == blue > 150  # no colour is left


def test_the_border_of_the_kept_area_is_outlined() -> None:
    pixels = shade(GREEN, Kept(frozenset({5, 6}), 0, "features"), SIDE, PATCH)
    row = 1 * PATCH + PATCH // 2
    assert tuple(pixels[row, 1 * PATCH]) == (0, 114, 178)  # left edge of 5
    assert tuple(pixels[row, 2 * PATCH]) == (0, 200, 0)  # none between 5 and 6


def test_merged_tokens_are_counted_not_placed() -> None:
    what = kept({"kept": {"features": [3, 1, -1]}, "visual": [3]}, SIDE)
    assert what == Kept(frozenset({1, 3}), 1, "features")
    assert caption(what, SIDE) == "2 patches + 1 merged"


def test_where_all_is_merged_nothing_fades() -> None:
    what = kept({"kept": {"features": [-1] * 4}, "visual": [4]}, SIDE)
    assert what.patches is None and caption(what, SIDE) == "4 merged tokens"
    assert np.array_equal(shade(GREEN, what, SIDE, PATCH), np.asarray(GREEN))


def test_the_last_place_counts() -> None:
    places = {"prompt10": [0, 1], "vision2": list(range(9)), "prompt2": [0, 1, 2], "features": [0, 1, 2, 3]}
    assert kept({"kept": places, "visual": [4]}, SIDE) == Kept(frozenset({0, 1}), 0, "prompt10")


def test_full_blind_and_unknown() -> None:
    assert kept({"kept": {}, "visual": [16]}, SIDE).patches == frozenset(range(16))
    assert kept({"kept": {"image": []}, "visual": [0]}, SIDE).patches == frozenset()
    unknown = kept({"kept": {}, "visual": [5]}, SIDE)
    assert unknown == Kept(None, 5, "")


def test_mixed_patches_fade_half_and_are_tied_to_their_token() -> None:
    members = ((0, frozenset({0, 3})), (-1, frozenset({12, 14})))
    pixels = shade(GREEN, Kept(frozenset({0}), 1, "features", members), SIDE, 24).astype(int)

    def at(i: int, dy: int = 5, dx: int = 5) -> np.ndarray:
        return pixels[i // SIDE * 24 + dy, i % SIDE * 24 + dx]

    assert at(0).tolist() == [0, 200, 0]
    kept_green, mixed, dropped = (v[1] - v[0] for v in (at(0), at(3), at(8)))
    assert kept_green > mixed > dropped == 0
    dark = (pixels < 90).all(axis=2)
    assert dark[12, 24:72].mean() > 0.9  # the line from 3 to 0
    assert dark[3 * 24 + 12, 2 * 24 : 3 * 24].any() and not dark[2 * 24 + 2 : 2 * 24 + 22].any()


def test_survivors_that_went_into_each_other_are_not_tied() -> None:
    both = frozenset({0, 3})
    pixels = shade(GREEN, Kept(both, 0, "features", ((0, both), (3, both))), SIDE, 24).astype(int)
    assert not (pixels < 90).all(axis=2).any()


def test_a_token_that_holds_a_crowd_gets_dots_alone() -> None:
    rest = frozenset(range(1, 16))
    pixels = shade(GREEN, Kept(frozenset({0}), 1, "features", ((0, frozenset({0})), (-1, rest))), SIDE, 24)
    dark = (pixels.astype(int) < 90).all(axis=2)
    assert all(dark[i // SIDE * 24 + 12, i % SIDE * 24 + 12] for i in rest)
    assert not dark[12, 28:34].any()  # nothing between the dots


def test_a_patch_fades_by_the_share_of_the_cache_that_lost_it() -> None:
    what = kept({"kept": {}, "visual": [16], "cached": [100, 75, 50, 0] + [0] * 12}, SIDE)
    pixels = shade(GREEN, what, SIDE, PATCH).astype(int)
    green = [patch_of(pixels, i)[0, 0] for i in range(4)]
    left = [int(v[1] - v[0]) for v in green]
    assert left == sorted(left, reverse=True) and left[0] == 200 and left[3] == 0
    assert caption(what, SIDE) == "2.2 patches in the mean cache"


def test_a_smaller_picture_is_shown_as_the_tower_saw_it() -> None:
    pixels = coarse(GREEN, SIDE, 2, 24)
    assert pixels[3, 3].tolist() == [0, 200, 0] and pixels[48, 3].tolist() == [0, 114, 178]


def test_key_words_stand_under_their_picture(root: Path) -> None:
    synthetic.write_study(root, columns=["a"])
    cell = load_study(root, "demo").cells[-1]
    sample = samples_with_pictures(cell, 1)[0]
    plain = panel(cell, sample, "t")
    rows = [{**row, "words": ["red"], "notes": {"text_share": 0.25}} for row in cell.traces()]
    synthetic.lines(cell.prediction / "trace.jsonl", rows)
    told = panel(cell, sample, "t")
    assert plain is not None and told is not None
    assert told.pixels.shape[0] > plain.pixels.shape[0] and "key words: 25 % of the text" in told.below
    synthetic.lines(cell.prediction / "trace.jsonl", [{**row, "words": []} for row in rows])
    none = panel(cell, sample, "t")
    assert none is not None and none.pixels.shape[0] > plain.pixels.shape[0]  # it read, and found no key word


def test_the_question_comes_from_the_tasks_own_file(root: Path) -> None:
    cells = synthetic.write_study(root, columns=["a"])
    cells[0]["task"] = {**cells[0]["task"], "file": "a.jsonl"}
    synthetic.write_config(root, cells[0])
    rows = [{"id": "q0", "question": "what?"}, {"id": "q1", "question": "where?"}]
    synthetic.lines(root.parent / "data" / "scenes" / "a.jsonl", rows)
    cell = load_study(root, "demo").cells[0]
    assert question_of(cell, "q1") == "where?" and question_of(cell, "q9") == ""


def test_a_wide_picture_is_cut_to_its_middle() -> None:
    wide = Image.new("RGB", (96, 32), (255, 0, 0))
    wide.paste((0, 0, 255), (32, 0, 64, 32))
    pixels = shade(wide, Kept(frozenset(range(16)), 0, ""), SIDE, PATCH)
    assert np.array_equal(pixels, np.full((32, 32, 3), (0, 0, 255)))


def test_panel_shows_tokens_and_answer(root: Path) -> None:
    synthetic.write_study(root, columns=["a"])
    cell = load_study(root, "demo").cells[-1]
    sample = samples_with_pictures(cell, 1)[0]
    record = next(r for r in cell.records() if r["id"] == sample)
    made = panel(cell, sample, "title")
    assert made is not None
    assert "+ 1 merged" in made.below and f"“{record['text']}”" in made.below
    assert panel(cell, "no such sample", "title") is None


def test_examples_have_a_picture_each(root: Path) -> None:
    synthetic.write_study(root, columns=["a"], samples=24)
    cell = load_study(root, "demo").cells[0]
    assert samples_with_pictures(cell, 3) == ["q4", "q12", "q20"]
    records = [{**r, "meta": {"image": "images/0000.png"}} for r in cell.records()]
    synthetic.lines(cell.prediction / "records.jsonl", records)
    assert samples_with_pictures(cell, 3) == ["q0"]


def test_a_missing_picture_is_no_panel(root: Path) -> None:
    synthetic.write_study(root, columns=["a"])
    cell = load_study(root, "demo").cells[0]
    record = {"id": "q0", "meta": {"image": "images/gone.png"}}
    assert picture_file(cell, record) is None
    assert picture_file(cell, {"id": "q0", "meta": {"image": "images/0000.png"}}) is not None


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (5, (1, 5)), (6, (2, 5))])
def test_gallery_wraps(count: int, shape: tuple[int, int]) -> None:
    from prunegrid.report.overlay import Panel

    figure = gallery([Panel(np.zeros((8, 8, 3), np.uint8), "t")] * count)
    assert len(figure.axes) == shape[0] * shape[1]
    assert sum(bool(axes.images) for axes in figure.axes) == count
    plt.close(figure)
