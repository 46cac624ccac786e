"""The published tables: which figures must be met, and that every other one is explained."""

import json
import subprocess
import sys
from decimal import ROUND_HALF_UP, Decimal

import pytest

from prunegrid.cost.tables import ivtp, load, names, render
from prunegrid.cost.tables.layout import as_text
from prunegrid.cost.tables.table import Cell, Table
from prunegrid.cost.tables.viewer import prefill
from prunegrid.shape import llava15_7b, llava15_13b

# table -> (figures, of which with the same digits, of which agreeing)
EXPECTED = {
    "prumerge-table2": (32, 31, 31),
    "vtip-table6": (36, 28, 28),
    "ivtp-table1": (10, 10, 10),
    "ivtp-table2": (10, 4, 4),
    "ivtp-table3": (24, 23, 23),
    "ivtp-table4": (3, 3, 3),
    "ivtp-table9": (17, 4, 17),
}


def test_all_tables_are_held() -> None:
    assert set(names()) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_figures_that_agree(name: str) -> None:
    cells = load(name).cells
    keys = {(cell.row, cell.column) for cell in cells}
    assert len(keys) == len(cells)
    found = (len(cells), sum(c.same_digits for c in cells), sum(c.agrees for c in cells))
    assert found == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_figures_that_disagree_say_why(name: str) -> None:
    assert all(cell.agrees or cell.note for cell in load(name).cells)


def test_the_one_figure_of_prumerge_that_cannot_be_met() -> None:
    (cell,) = [cell for cell in load("prumerge-table2").cells if not cell.agrees]
    assert (cell.row, cell.published) == ("w/ PruMerge 7B INT4", "0.28")
    assert cell.computed == pytest.approx(0.2275)


def test_prumerges_own_token_counts_would_not_give_its_table() -> None:
    """Section 4.2 says 576 + 40 and 40 + 40 tokens: 8.18 T in 77.5 ms and 1.04 T in 15.4 ms."""
    stated, pruned = (prefill(llava15_7b(), n, "V100", 16, "llm_viewer_old") for n in (616, 80))
    assert (round(stated.flops, 2), round(stated.milliseconds, 1)) == (8.18, 77.5)
    assert (round(pruned.flops, 2), round(pruned.milliseconds, 1)) == (1.04, 15.4)


def test_vtips_memory_is_that_of_the_weights() -> None:
    """13.2 GB: 6.6e9 weights of two bytes, and no prompt of more than three tokens."""
    weights = 2 * (32 * (4 * 4096**2 + 3 * 4096 * 11008) + 4096 * 32000)
    assert round(weights / 1e9, 1) == 13.2
    assert [round(prefill(llava15_7b(), n, "A100", 16).moved, 1) for n in (1, 3, 4)] == [13.2, 13.2, 13.3]


@pytest.mark.parametrize(
    ("tokens", "flops", "time"), [(173, 2.3, 9.6), (174, 2.3, 9.7), (180, 2.3, 9.7), (181, 2.4, 9.7)]
)
def test_vtips_row_needs_174_to_180_tokens(tokens: int, flops: float, time: float) -> None:
    found = prefill(llava15_7b(), tokens, "A100", 16)
    assert (round(found.flops, 1), round(found.milliseconds, 1)) == (flops, time)


def test_ivtp_base_figures() -> None:
    """14.998 at 1088 tokens, 7.7715 at 575, 7.785 at 576; 13B: 28.94."""
    assert ivtp.full(llava15_7b(), 512).llm == pytest.approx(14.9976, abs=1e-4)
    assert ivtp.in_vision(llava15_7b(), 512).llm == pytest.approx(7.7715, abs=1e-4)
    assert ivtp.in_vision(llava15_7b(), 513).llm == pytest.approx(7.7853, abs=1e-4)
    assert ivtp.full(llava15_13b(), 512).llm == pytest.approx(28.935, abs=1e-3)


def test_ivtp_two_stages_give_the_printed_split() -> None:
    """7.942 without the rollout's matrix products, 7.946 with; six windows of text make 0.080."""
    plain, whole = (ivtp.two_stage(llava15_7b(), 512, rollout=rollout) for rollout in (False, True))
    assert plain.llm == pytest.approx(7.9421, abs=1e-4) and whole.llm == pytest.approx(7.946, abs=5e-4)
    assert whole.extra == pytest.approx(0.080, abs=5e-4) and ivtp.resampler() == pytest.approx(
        0.003, abs=5e-4
    )
    assert whole.total == pytest.approx(8.228, abs=0.003)


def test_ivtp_keeps_one_ratio_at_all_twelve_prunes() -> None:
    counts = [round(576 * ivtp.RATIO**k) for k in range(13)]
    assert counts == [576, 480, 399, 333, 277, 231, 192, 160, 133, 111, 92, 77, 64]


def test_ivtp_vision_schedules_are_the_nearest_ones() -> None:
    """Dropping after the layer instead of before gives 0.205 for TopK and 0.212 for IVTP."""
    shape = llava15_7b()
    assert ivtp.full(shape, 512).vision == pytest.approx(0.361, abs=0.0055)
    assert ivtp.in_vision(shape, 512).vision == pytest.approx(0.190, abs=0.0015)
    assert ivtp.two_stage(shape, 512).vision == pytest.approx(0.202, abs=0.0025)


def test_rounding_is_half_up_and_tolerance_is_a_distance() -> None:
    assert Cell("", "", "", 4.55, "4.6", 1).same_digits
    assert not Cell("", "", "", 4.549, "4.6", 1).same_digits
    assert Cell("", "", "", 4.645, "4.60", 1).same_digits
    assert Cell("", "", "", 8.001, "8.05", 2, tolerance=0.05).agrees
    assert not Cell("", "", "", 7.999, "8.05", 2, tolerance=0.05).agrees


@pytest.mark.parametrize(
    ("computed", "published", "places", "rounded", "unrounded"),
    [
        (8.147, "8.1", 1, "8.1", "8.147"),  # 8.15 would round to 8.2
        (8.15, "8.2", 1, "8.2", "8.15"),
        (8.1444, "8.1", 1, "8.1", "8.14"),
        (8.14996, "8.1", 1, "8.1", "8.14996"),
        (4.645, "4.60", 1, "4.6", "4.645"),
        (0.2275, "0.28", 2, "0.23", "0.228"),
        (0.4449, "0.44", 2, "0.44", "0.4449"),
        (2.0, "2", 0, "2", "2.0"),
    ],
)
def test_what_is_shown_rounds_to_what_was_compared(
    computed: float, published: str, places: int, rounded: str, unrounded: str
) -> None:
    cell = Cell("", "", "", computed, published, places)
    assert (cell.rounded, cell.unrounded) == (rounded, unrounded)


@pytest.mark.parametrize("name", EXPECTED)
def test_no_figure_contradicts_its_sign(name: str) -> None:
    """A reader who rounds the second line gets the first, and `=` stands between equal numbers only."""
    for cell in load(name).cells:
        up = Decimal(cell.unrounded).quantize(Decimal(1).scaleb(-cell.places), ROUND_HALF_UP)
        assert up == Decimal(cell.rounded)
        assert (cell.sign == "=") == (Decimal(cell.rounded) == Decimal(cell.published)) == cell.same_digits
        assert f"{cell.rounded} {cell.sign} {cell.published}" in render(name)


@pytest.mark.parametrize("name", EXPECTED)
def test_rendering(name: str) -> None:
    text = render(name)
    document = json.loads(render(name, as_json=True))
    for cell in load(name).cells:
        assert cell.published in text and cell.row in text
    assert f"{document['same_digits']} of {document['figures']} figures" in text
    notes = {cell.note for cell in load(name).cells if cell.note}
    assert all(f"[{number}] " in text for number in range(1, len(notes) + 1))
    assert document["name"] == name and len(document["cells"]) == document["figures"]
    assert max(map(len, text.splitlines())) <= 110 and not any(
        line != line.rstrip() for line in text.splitlines()
    )


def test_layout() -> None:
    cells = (
        Cell("first", "ms", "9", 1.04, "1.0", 1, note="why not"),
        Cell("first", "T", "9", 2.04, "2.0", 1, tolerance=0.1),
        Cell("second", "T", "9", 2.09, "2.0", 1, tolerance=0.1),
        Cell("second", "ms", "9", 3.0, "2.0", 1, note="no idea"),
    )
    lines = as_text(Table("Title", "Paper", "Method.", cells, columns=("T", "ms"))).splitlines()
    assert lines[4:9] == [
        "             tokens  T          ms",
        "first        9       2.0 = 2.0  1.0 = 1.0 [1]",
        "  unrounded          2.04       1.04",
        "second       9       2.1 ~ 2.0  3.0 ! 2.0 [2]",
        "  unrounded          2.09       3.00",
    ]
    assert lines[10:] == [
        "ours rounded half up to their decimals, then theirs: = same digits, ~ unrounded within 0.1, ! neither",
        "2 of 4 figures have the same digits; 3 agree.",
        "[1] why not",
        "[2] no idea",
    ]


def test_unknown_table() -> None:
    with pytest.raises(ValueError, match="did you mean 'vtip-table6'"):
        render("vtip-table")


def test_a_table_is_printed_in_under_a_second_without_heavy_imports() -> None:
    """Processor time, so that a busy machine does not matter."""
    code = (
        "import sys, time; from prunegrid.cost.tables import render; render('ivtp-table3');"
        "assert not {'torch', 'numpy', 'yaml'} & set(sys.modules); print(time.process_time())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert float(done.stdout) < 1
