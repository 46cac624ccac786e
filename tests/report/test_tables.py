import csv
import io
import json
from pathlib import Path

import pytest

from prunegrid.report.html import table
from prunegrid.report.results import load_study
from prunegrid.report.summary import Summary, summarise
from prunegrid.report.tables import as_csv, markdown, render_text

from . import synthetic

TOPK = ("topk_cls keep=36", "mini_pope")


def summary(root: Path, name: str = "demo") -> Summary:
    return summarise(load_study(root, name))


def line_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def test_text_is_aligned_and_fits(root: Path) -> None:
    columns = [f"benchmark_{i}" for i in range(7)]
    synthetic.write_study(root, columns=columns, failed=[(TOPK[0], columns[0])])
    text = render_text(summary(root), width=120)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 120
    assert all(column in text for column in columns)  # nothing is dropped to fit
    first_block = lines[2 : 2 + lines[2:].index("")]
    head = first_block[0]
    start = head.index("benchmark_1")
    rows = [line for line in first_block[2:] if not line.startswith(" ")]  # not the rest of a long label
    assert len(rows) == 6 and all(line[start - 2 : start] == "  " for line in rows)


def test_text_of_few_benchmarks_is_one_block(root: Path) -> None:
    synthetic.write_study(root, columns=["a", "b", "c", "d"])
    text = render_text(summary(root), width=120)
    assert text.count("method") == 1


def test_text_shows_score_difference_and_cost(root: Path) -> None:
    cells = synthetic.write_study(root)
    cell = next(c for c in cells if (c["row"], c["column"]) == TOPK)
    synthetic.write_score(root, cell, 0.75)
    synthetic.write_paired(root, cell, 0.75, 0.04, p=0.001)
    line = line_of(render_text(summary(root)), TOPK[0])
    assert "75.0±3.0 -10.0*" in line
    assert line.split()[-3:] == ["36.0", "40", "%"]


@pytest.mark.parametrize("own", [{}, {"reducer": None}], ids=["old", "unstated"])
def test_flops_without_the_methods_own_are_marked(own: dict[str, None], root: Path) -> None:
    cells = synthetic.write_study(root)
    for cell in (c for c in cells if c["row"] == TOPK[0]):
        flops = {"vision": 2e8, "total": 2e8, **own}
        file = root / "cells" / cell["id"] / "cost.json"
        synthetic.dump(file, {**json.loads(file.read_text(encoding="utf-8")), "flops": flops})
    made = summary(root)
    assert line_of(render_text(made), TOPK[0]).split()[-2:] == ["40", "%+"]
    assert line_of(render_text(made), "random").split()[-2:] == ["40", "%"]
    counted = {
        line["row"]: line["reducer_flops_counted"] for line in csv.DictReader(io.StringIO(as_csv(made)))
    }
    assert (counted[TOPK[0]], counted["none"]) == ("false", "true")
    assert "the method's own not counted" in table(made)


def test_text_never_shows_a_number_for_what_is_not_there(root: Path) -> None:
    synthetic.write_study(root, columns=["a"], failed=[(TOPK[0], "a")], missing=[("blind", "a")])
    text = render_text(summary(root))
    assert line_of(text, TOPK[0]).split() == ["topk_cls", "keep=36", "failed", "–", "–"]
    assert line_of(text, "blind").split() == ["blind", "missing", "–", "–"]


def test_long_labels_wrap_instead_of_being_cut(root: Path) -> None:
    label = "prumerge select=iqr merge=True variant=paper order=descending"
    synthetic.write_study(root, rows={label: ("prumerge", 36, 1)}, columns=["a", "b", "c", "d"])
    text = render_text(summary(root), width=120)
    assert set(label.split()) <= set(text.split())
    assert text.count("method") == 1 and max(map(len, text.splitlines())) <= 120


def test_mini_is_labelled_everywhere(root: Path) -> None:
    synthetic.write_study(root)
    found = summary(root)
    for text in (render_text(found), markdown(found)):
        assert "mini: real measurements of the small model" in text.replace("\n", " ")
    assert {row["mini"] for row in csv.DictReader(io.StringIO(as_csv(found)))} == {"true"}


def test_markdown_tables_are_rectangular(root: Path) -> None:
    synthetic.write_study(root, failed=[TOPK])
    rows = [line for line in markdown(summary(root)).splitlines() if line.startswith("|")]
    tables = [[r.count("|") for r in rows[:8]], [r.count("|") for r in rows[8:]]]
    assert [set(t) for t in tables] == [{7}, {4}]
    assert rows[0].split("|")[-4:-1] == [" tokens ", " FLOPs ", " KV "]
    assert "failed" in next(r for r in rows if r.startswith("| topk_cls"))


def test_markdown_escapes_what_would_end_a_cell(root: Path) -> None:
    synthetic.write_study(root, rows={"topk a|b": ("topk_cls", 36, 1)})
    assert "| topk a\\|b |" in markdown(summary(root))


def test_published_stands_beside_the_measured(root: Path) -> None:
    synthetic.write_study(root, model="llava15_7b", published={TOPK: 76.3})
    text = markdown(summary(root))
    assert "### Published" in text and "/ 76.3 |" in text
    synthetic.write_study(root, published={TOPK: 76.3})  # mini
    assert "Published" not in markdown(summary(root)) and "76.3" not in markdown(summary(root))


def test_csv_has_every_field_unrounded(root: Path) -> None:
    cells = synthetic.write_study(root, missing=[("blind", "mini_vqa")])
    cell = next(c for c in cells if (c["row"], c["column"]) == TOPK)
    synthetic.write_score(root, cell, 0.7123456789)
    rows = list(csv.DictReader(io.StringIO(as_csv(summary(root)))))
    assert len(rows) == 12
    found = {(row["row"], row["column"]): row for row in rows}
    assert float(found[TOPK]["score"]) == pytest.approx(71.23456789, abs=1e-9)
    missing = found["blind", "mini_vqa"]
    assert (
        missing["state"] == "missing" and missing["score"] == missing["delta"] == missing["tokens_mean"] == ""
    )
    assert len(found["random keep=36", "mini_pope"]["cells"].split()) == 3


def test_a_partial_field_says_so(root: Path) -> None:
    cells = synthetic.write_study(root, columns=["a"])
    seed = next(c for c in cells if c["reducer"]["name"] == "random")
    (root / "cells" / seed["id"] / "score.json").unlink()
    assert "2 of 3 seeds" in line_of(render_text(summary(root)), "random")
    assert "(2 of 3 seeds)" in markdown(summary(root))
