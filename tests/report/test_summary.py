from pathlib import Path

import pytest

from prunegrid.report.cell import Estimate, ResultError
from prunegrid.report.published import rows as rows_of_paper
from prunegrid.report.results import load_study
from prunegrid.report.summary import Summary, join_seeds, summarise, with_p

from . import synthetic

TOPK = ("topk_cls keep=36", "mini_pope")


def summary(root: Path, name: str = "demo") -> Summary:
    return summarise(load_study(root, name))


def planned(cells: list[dict], row: str, column: str) -> list[dict]:
    return [cell for cell in cells if (cell["row"], cell["column"]) == (row, column)]


def test_a_field_is_in_display_units(root: Path) -> None:
    cells = synthetic.write_study(root)
    (cell,) = planned(cells, *TOPK)
    synthetic.write_score(root, cell, 0.75)
    synthetic.write_paired(root, cell, 0.75, 0.04)
    field = summary(root).fields[TOPK]
    assert field.unit == "%" and field.metric == "f1"
    assert field.score is not None and field.score.value == pytest.approx(75)
    assert field.score.half == pytest.approx(3)
    assert field.delta is not None and field.delta.value == pytest.approx(-10)
    assert field.delta.low == pytest.approx(-14)
    assert field.tokens == (36, 36, 36)
    assert field.retention is not None and field.retention.value == pytest.approx(100 * 0.75 / 0.85)


def test_points_are_not_percent(root: Path) -> None:
    cell = synthetic.write_study(root, columns=["mme"])[0]
    score = {"primary": "perception", "scale": 2000.0, "metrics": {"perception": 1490.0}, "interval": {}}
    synthetic.dump(root / "cells" / cell["id"] / "score.json", {**score, "result_hash": "x"})
    field = summary(root).fields["none", "mme"]
    assert field.unit == "points" and field.digits == 0
    assert field.score == Estimate(1490.0)


def test_seeds_share_a_field_and_add_their_variance(root: Path) -> None:
    cells = synthetic.write_study(root)
    for cell, value in zip(planned(cells, "random keep=36", "mini_pope"), (0.60, 0.70, 0.80), strict=True):
        synthetic.write_score(root, cell, value)  # each +-0.03
    field = summary(root).fields["random keep=36", "mini_pope"]
    assert field.score is not None and field.score.half is not None
    assert field.score.value == pytest.approx(70)
    assert field.seed_sd == pytest.approx(10)
    # half^2 = 3^2 + (1.96 * 10 / sqrt 3)^2
    assert field.score.half == pytest.approx((9 + (1.959964 * 10) ** 2 / 3) ** 0.5, rel=1e-5)


def test_equal_seeds_do_not_shrink_the_interval() -> None:
    same = [Estimate(50, 47, 53)] * 5
    joined = join_seeds(same)
    assert joined is not None and joined.half == pytest.approx(3)


def test_an_unknown_bound_stays_unknown() -> None:
    assert join_seeds([Estimate(1, 0, 2), Estimate(3, None, None)]) == Estimate(2)
    assert join_seeds([None, None]) is None


def test_part_of_the_seeds_is_partial_not_done(root: Path) -> None:
    cells = synthetic.write_study(root)
    seeds = planned(cells, "random keep=36", "mini_pope")
    (root / "cells" / seeds[0]["id"] / "score.json").unlink()
    field = summary(root).fields["random keep=36", "mini_pope"]
    assert (field.state, field.seeds, len(field.cells)) == ("partial", 2, 3)


def test_missing_and_failed_have_no_number(root: Path) -> None:
    synthetic.write_study(root, failed=[TOPK], missing=[("blind", "mini_pope")])
    fields = summary(root).fields
    assert (fields[TOPK].state, fields[TOPK].score) == ("failed", None)
    assert (fields["blind", "mini_pope"].state, fields["blind", "mini_pope"].score) == ("missing", None)


def test_holm_corrects_over_the_benchmarks_of_a_row(root: Path) -> None:
    columns = ["a", "b", "c"]
    cells = synthetic.write_study(root, columns=columns)
    for column, p in zip(columns, (0.02, 0.04, 0.01), strict=True):
        (cell,) = planned(cells, TOPK[0], column)
        synthetic.write_paired(root, cell, 0.8, 0.02, p=p)
    fields = summary(root).fields
    found = [fields[TOPK[0], column].delta for column in columns]
    assert [d and d.p for d in found] == pytest.approx([0.04, 0.04, 0.03])  # 2 * 0.02, max, 3 * 0.01
    assert all(fields[TOPK[0], column].significant for column in columns)


def test_significant_alone_but_not_among_three(root: Path) -> None:
    columns = ["a", "b", "c"]
    cells = synthetic.write_study(root, columns=columns)
    for column, p in zip(columns, (0.03, 0.5, 0.6), strict=True):
        (cell,) = planned(cells, TOPK[0], column)
        synthetic.write_paired(root, cell, 0.8, 0.02, p=p)
    assert not summary(root).fields[TOPK[0], "a"].significant


def test_p_from_the_interval_where_none_was_written() -> None:
    at_the_edge = with_p(Estimate(-2, -4, 0))
    assert at_the_edge is not None and at_the_edge.p == pytest.approx(0.05)
    assert with_p(Estimate(0, 0, 0)) == Estimate(0, 0, 0, p=1.0)  # equal answers
    assert with_p(Estimate(-2, -4, 0, p=0.3)) == Estimate(-2, -4, 0, p=0.3)
    assert with_p(Estimate(-2)) == Estimate(-2)  # no interval, no claim


def test_the_full_token_row_has_no_difference(root: Path) -> None:
    synthetic.write_study(root)
    assert summary(root).fields["none", "mini_pope"].delta is None


def test_published_never_beside_mini(root: Path) -> None:
    published = {TOPK: 76.3}
    synthetic.write_study(root, published=published)
    assert not rows_of_paper(summary(root))
    synthetic.write_study(root, "real", model="llava15_7b", published=published)
    found = summary(root, "real")
    assert found.fields[TOPK].published == 76.3
    assert found.fields["none", "mini_pope"].published is None


def test_published_only_for_the_published_model(root: Path) -> None:
    source = {"model": "llava15_7b", "values": {}}
    cells = synthetic.write_study(
        root, model="llava15_13b", published={TOPK: 76.3}, head={"published": source}
    )
    assert not rows_of_paper(summary(root))
    both = {**source, "model": ["llava15_7b", "llava15_13b"]}
    synthetic.write_study(root, model="llava15_13b", published={TOPK: 76.3}, head={"published": both})
    assert rows_of_paper(summary(root))
    synthetic.write_study(root, model="llava15_7b", published={TOPK: 76.3}, head={"published": source})
    assert summary(root).fields[TOPK].published == 76.3
    assert cells[0]["model"] == "llava15_13b"


def test_support_is_compared_with_but_not_shown(root: Path) -> None:
    synthetic.write_study(root, support=["none", "blind"], missing=[("none", "mini_vqa")])
    found = summary(root)
    assert "none" not in found.rows and "blind" not in found.rows
    assert found.study.progress == "12 of 12 cells"
    lines = {(field.reducer, field.column): field.state for field in found.references}
    assert lines["blind", "mini_pope"] == "done" and lines["none", "mini_vqa"] == "missing"


def test_a_twin_is_not_compared_with_itself(root: Path) -> None:
    cells = synthetic.write_study(root, columns=["a"])
    (cell,) = planned(cells, "none", "a")
    (blind,) = planned(cells, "blind", "a")
    for each in cells:
        each["baseline"], each["blind"] = cell["id"], blind["id"]
    synthetic.dump(root / "plan" / "demo.json", {"study": "demo", "cells": cells})
    for each in (cell, blind):
        synthetic.write_paired(root, each, 0.8, 0.01)
    fields = summary(root).fields
    assert fields["none", "a"].delta is None and fields["none", "a"].retention is None
    assert fields["blind", "a"].delta is not None and fields["blind", "a"].retention_floor is None


def test_a_cell_in_two_places_counts_once(root: Path) -> None:
    cells = synthetic.write_study(root, columns=["a"])
    twice = [*cells, {**cells[0], "row": "the same again"}]
    synthetic.dump(root / "plan" / "demo.json", {"study": "demo", "cells": twice})
    study = load_study(root, "demo")
    assert study.progress == "8 of 8 cells"
    assert study.everything[0].row == "none" and len(study.everything) == 8


def test_two_models_are_never_averaged(root: Path) -> None:
    first = synthetic.write_study(root, columns=["mini_pope"])
    second = synthetic.write_study(root, columns=["mini_pope"], model="llava15_7b")
    plan = {"study": "both", "cells": first + second}
    synthetic.dump(root / "plan" / "both.json", plan)
    rows = summary(root, "both").rows
    assert "mini: none" in rows and "llava15_7b: none" in rows


def test_two_cells_with_one_seed_are_an_error(root: Path) -> None:
    cells = synthetic.write_study(root, columns=["mini_pope"])
    synthetic.dump(root / "plan" / "twice.json", {"study": "twice", "cells": [cells[0], cells[0]]})
    with pytest.raises(ResultError, match="share row 'none', column 'mini_pope' and a seed"):
        summary(root, "twice")
