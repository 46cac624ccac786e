from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from prunegrid.report import figures
from prunegrid.report.results import load_study
from prunegrid.report.style import look, marks, plt, save
from prunegrid.report.summary import summarise

from . import synthetic


def test_pareto_keeps_what_nothing_cheaper_reaches() -> None:
    points = [(36, 70.0), (144, 85.0), (64, 69.0), (36, 72.0), (16, 50.0), (100, 72.0)]
    assert figures.pareto(points) == [(16, 50.0), (36, 72.0), (144, 85.0)]


def test_equal_costs_are_set_apart_around_their_place() -> None:
    moved = figures.dodged([36, 144, 36, 36], octaves=True)
    assert moved[1] == pytest.approx(144)  # alone: not moved
    apart = np.log2([moved[0], moved[2], moved[3]])
    assert list(apart) == sorted(apart) and np.allclose(np.diff(apart), np.diff(apart)[0])
    assert np.diff(apart)[0] > 0.01
    assert apart.mean() == pytest.approx(np.log2(36))


def test_many_points_of_one_budget_stay_near_it() -> None:
    moved = np.log2(figures.dodged([16] * 9 + [144], octaves=True))
    assert np.ptp(moved[:9]) < 0.1 * np.log2(144 / 16)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([9.0, 36.0, 144.0], [144, 72, 36, 18, 9]),
        ([4.1, 32.42, 129.7], [128, 64, 32, 16, 8]),
        ([130.2, 140.5], [130.2, 140.5]),
    ],
)
def test_ticks_are_whole_numbers_where_the_budgets_are_not(values: list[float], ticks: list[float]) -> None:
    figure, axes = plt.subplots()
    figures.octaves(axes, values)
    assert list(axes.get_xticks()) == ticks
    plt.close(figure)


def test_a_title_names_the_model_once(root: Path) -> None:
    synthetic.write_study(root)
    assert figures.title(summarise(load_study(root, "demo"))) == "Sampling at equal budgets (mini model)"
    synthetic.write_study(root, head={"title": "Sampling, on the mini model"})
    assert figures.title(summarise(load_study(root, "demo"))) == "Sampling, on the mini model"


def test_of_several_references_the_outermost_is_named(root: Path) -> None:
    cells = synthetic.write_study(
        root, columns=["a"], rows={"none": ("none", 144, 1), "tuned": ("none", 144, 1)}
    )
    for cell, score in zip(cells, (0.7, 0.8), strict=True):
        synthetic.write_score(root, cell, score)
    figure = figures.front(summarise(load_study(root, "demo")), figures.TOKENS)
    axes = figure.axes[0]
    dashed = [line.get_ydata()[0] for line in axes.get_lines() if line.get_linestyle() == "--"]  # type: ignore[index]
    (named,) = [text for text in axes.texts if text.get_text() == "full tokens"]
    assert len(dashed) == 2 and named.xy[1] == max(dashed) != min(dashed)
    plt.close(figure)


def test_every_finished_field_is_a_point(root: Path) -> None:
    synthetic.write_study(root, failed=[("topk_cls keep=36", "mini_pope")])
    summary = summarise(load_study(root, "demo"))
    figure = figures.front(summary, figures.TOKENS)
    points = [len(axes.containers) for axes in figure.axes]
    assert points == [4, 5]  # six rows, blind is a line, one failed
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "blind" not in labels and "topk_cls keep=36" in labels
    plt.close(figure)


def test_references_that_the_table_hides_are_lines(root: Path) -> None:
    synthetic.write_study(root, columns=["a"], support=["none", "blind"])
    figure = figures.front(summarise(load_study(root, "demo")), figures.TOKENS)
    assert [text.get_text() for text in figure.axes[0].texts] == ["full tokens", "blind (0 tokens)"]
    assert len(figure.axes[0].containers) == 4
    plt.close(figure)


def test_intervals_reach_from_low_to_high(root: Path) -> None:
    cells = synthetic.write_study(root, columns=["a"], rows={"none": ("none", 144, 1)})
    synthetic.write_score(root, cells[0], 0.8)
    figure = figures.front(summarise(load_study(root, "demo")), figures.FLOPS)
    (bar,) = figure.axes[0].containers
    (segment,) = bar[2][0].get_segments()
    assert segment[:, 1] == pytest.approx([77, 83])
    assert segment[:, 0] == pytest.approx([100, 100])
    plt.close(figure)


def test_nothing_finished_is_said_not_drawn(root: Path) -> None:
    rows = {"none": ("none", 144, 1), "topk_cls keep=36": ("topk_cls", 36, 1)}
    synthetic.write_study(root, columns=["a"], rows=rows, missing=[(row, "a") for row in rows])
    figure = figures.front(summarise(load_study(root, "demo")), figures.TOKENS)
    assert [text.get_text() for text in figure.axes[0].texts] == ["2 of 2 fields not finished"]
    plt.close(figure)


def test_marks_colour_by_method_and_never_repeat() -> None:
    rows = [(f"prumerge {i}", "prumerge") for i in range(4)] + [("topk", "topk_cls"), ("none", "none")]
    found = marks(rows)
    assert len({found[f"prumerge {i}"].colour for i in range(4)}) == 1
    assert found["topk"].colour != found["prumerge 0"].colour
    assert len({mark.marker for mark in found.values()}) == len(rows)  # greyscale


def test_files_are_equal_for_equal_figures(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with look():
            figure, axes = plt.subplots()
            axes.plot([1, 2], label="x")
        save(figure, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert np.array_equal(image.imread(tmp_path / "a.png"), image.imread(tmp_path / "b.png"))


@pytest.mark.parametrize("rows", [3, 45])
def test_a_legend_of_many_rows_lies_under_the_panels(root: Path, rows: int) -> None:
    cells = synthetic.write_study(
        root,
        columns=["a", "b"],
        rows={f"progressive {k}": ("progressive", k, 1) for k in range(20, 20 + rows)},
    )
    for cell in cells:
        synthetic.write_score(root, cell, 0.5)
    figure = figures.front(summarise(load_study(root, "demo")), figures.TOKENS)
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert box is not None and not legend.overlaps(box) and axes.get_window_extent().height > 150
    assert legend.x0 >= 0 and legend.x1 <= figure.bbox.x1
    plt.close(figure)
