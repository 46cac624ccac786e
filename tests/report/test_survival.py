from pathlib import Path

from prunegrid.report.results import load_study
from prunegrid.report.style import plt
from prunegrid.report.survival import survival, survival_maps

from . import synthetic

SIDE = 4


def test_survival_is_a_share_of_samples() -> None:
    traces = [{"kept": {"features": ids}, "visual": [len(ids)]} for ids in ([0, 5], [5, -1])]
    share = survival(traces, SIDE)
    assert share[0, 0] == 0.5 and share[1, 1] == 1 and share.sum() == 1.5


def test_a_map_per_cell_on_one_scale(root: Path) -> None:
    synthetic.write_study(root, columns=["a"])
    cells = load_study(root, "demo").cells
    figure = survival_maps(cells)
    images = [image for axes in figure.axes[: len(cells)] for image in axes.images]
    assert len(images) == len(cells)
    assert {image.get_clim() for image in images} == {(0, 1)}
    assert images[0].get_array().min() == 1  # full tokens: always
    assert images[1].get_array().max() == 0  # blind: never
    plt.close(figure)
