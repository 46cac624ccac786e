"""Every figure that a study's file holds of its paper reaches the reader, in each form, and none beside another model."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from prunegrid.cost import tables as cost_tables
from prunegrid.grid import published as declared
from prunegrid.grid import study as studies
from prunegrid.grid.plan import draft
from prunegrid.report import cost_table, published, sheet, unsupported
from prunegrid.report.__main__ import main
from prunegrid.report.cell import Cell, ResultError
from prunegrid.report.results import Study, load_study
from prunegrid.report.summary import Summary, summarise
from prunegrid.report.tables import latex, markdown

from . import synthetic

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
pytestmark = pytest.mark.usefixtures("composed_once")
WITH_FIGURES = [
    f.stem
    for f in sorted((CONF / "study").glob("*.yaml"))
    if re.search(r"^(published|cost_table):", f.read_text(encoding="utf-8"), re.MULTILINE)
]


@cache
def planned(name: str) -> Study:
    """The study as its plan has it, nothing run."""
    if nothing := unsupported.declared(CONF, name):
        return nothing
    nowhere = Path("nowhere")
    study, plan = studies.read(CONF, name), draft(ROOT, nowhere, name)
    cells = [Cell(nowhere, row) for row in plan.rows]
    for cell in cells:
        cell.__dict__["config"] = cell.planned["cell"]  # what cell.yaml would hold
    head = {"study": name, "title": study.title, "source": study.source, "published": dict(study.published)}
    head |= {"cost_table": study.cost_table}
    shown, support = (tuple(c for c in cells if c.support is kind) for kind in (False, True))
    return Study(nowhere, head, shown, support)


def leaves(value: Any) -> Iterator[str]:
    """Every text and number in it, as a reader would look for it."""
    if isinstance(value, Mapping):
        for each in value.values():
            yield from leaves(each)
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each)
    else:
        yield f"{value:g}" if isinstance(value, int | float) else " ".join(str(value).split())


def texts(summary: Summary) -> dict[str, str]:
    """The study's page, Markdown and LaTeX, spelled as their reader sees them."""
    said = [s for s in (published.sheet(summary), cost_table.sheet(summary.study)) if s]
    pages = "\n".join(map(sheet.html, said))
    plain = latex(summary)
    for letters, command in sheet.LATEX.items():
        plain = plain.replace(command, letters) if letters != "\\" else plain
    return {"html": html.unescape(pages), "markdown": markdown(summary).replace("\\*", "*"), "latex": plain}


@pytest.mark.parametrize("name", WITH_FIGURES)
def test_every_key_of_published_reaches_the_reader(name: str) -> None:
    study = planned(name)
    found = texts(summarise(study))
    for key, given in study.plan["published"].items():
        assert key in declared.KEYS
        for leaf in leaves(given):
            for form, text in found.items():
                assert leaf in text, f"published.{key}: {leaf!r} is not in the {form}"


@pytest.mark.parametrize("name", WITH_FIGURES)
def test_each_figure_is_counted_where_it_belongs(name: str) -> None:
    """A number may be found by chance; the lines of the CSV are exactly the figures of the file."""
    study = planned(name)
    given = study.plan["published"]
    lines = published.lines(summarise(study))[1:]
    seen = {(what, str(row).split(": ")[-1], column): value for row, column, what, *_, value in lines}
    meant = {
        (what, row, column): float(value)
        for what, key in (("score", "values"), ("tokens", "tokens"))
        for row, figures in (given.get(key) or {}).items()
        for column, value in figures.items()
    }
    meant |= {("mean", row, None): float(value) for row, value in (given.get("mean") or {}).items()}
    assert seen == meant


@pytest.mark.parametrize("name", [n for n in WITH_FIGURES if studies.read(CONF, n).cost_table])
def test_a_cost_table_stands_on_its_study(name: str) -> None:
    study = planned(name)
    table = cost_tables.load(str(study.plan["cost_table"]))
    made = cost_table.sheet(study)
    assert made is not None
    cells = [text for row in made.rows for text in row[2:] if text]
    assert len(cells) == len(table.cells)
    for cell in table.cells:
        shown = f"{cell.rounded} ({cell.unrounded}) / {cell.published}"
        sign = "" if cell.same_digits else f" {cell.sign}"
        assert any(text == shown + sign or text.startswith(f"{shown}{sign} (") for text in cells)
    assert set(made.notes) == {cell.note for cell in table.cells if cell.note}
    for text in texts(summarise(study)).values():
        assert table.title in text and all(note in text for note in made.notes)
    assert len(cost_table.lines(table)) == len(table.cells) + 1


COLUMNS = ("textvqa", "mme")
ROW = "prumerge select=iqr merge=True"
GIVEN = {
    "model": "llava15_7b",
    "source": "a table",
    "metric": {"textvqa": "textvqa_ocr", "mme": "mme_perception"},
    "values": {ROW: {"textvqa": 56.0}},
    "mean": {ROW: 61.5},
    "tokens": {ROW: {"textvqa": 40, "mme": 35}},
    "notes": "the <second> figure is 50 % too high",
}


def measured(root: Path, model: str = "llava15_7b", **more: Any) -> Summary:
    """A study of two benchmarks, one in points of 2000, with what `GIVEN` holds of the paper."""
    cells = synthetic.write_study(
        root,
        model=model,
        columns=COLUMNS,
        published={(ROW, "textvqa"): 56.0},
        head={"published": GIVEN},
        **more,
    )
    for cell in cells:
        if cell["row"] == ROW and (ROW, cell["column"]) not in more.get("missing", ()):
            synthetic.write_score(root, cell, 0.5)
            if cell["column"] == "mme":
                score = {
                    "primary": "f1",
                    "scale": 2000.0,
                    "metrics": {"f1": 1400.0},
                    "interval": {"f1": [1320, 1480]},
                }
                synthetic.dump(root / "cells" / cell["id"] / "score.json", score)
    return summarise(load_study(root, "demo"))


def test_means_and_counts_stand_beside_ours(root: Path) -> None:
    summary = measured(root)
    (row,) = published.rows(summary)
    mean = published.mean(list(row.fields.values()))
    assert mean is not None and mean.value == pytest.approx((50 + 70) / 2)  # 1400 of 2000 is 70 %
    assert mean.half == pytest.approx((3**2 + 4**2) ** 0.5 / 2)
    made = published.sheet(summary)
    assert made is not None
    assert made.head == ["method", "textvqa (textvqa_ocr)", "mean", "tokens, textvqa", "tokens, mme"]
    (texts_of_row,) = made.rows
    tokens = [row.fields[c].tokens[0] for c in COLUMNS]  # type: ignore[index]
    assert texts_of_row[1:] == [
        "50.0 ±3.0 / 56",
        "60.0 ±2.5 / 61.5",
        f"{tokens[0]:.1f} / 40",
        f"{tokens[1]:.1f} / 35",
    ]
    assert made.notes == [GIVEN["notes"]]


def test_a_mean_waits_for_every_benchmark(root: Path) -> None:
    summary = measured(root, missing=[(ROW, "mme")])
    (row,) = published.rows(summary)
    assert published.mean(list(row.fields.values())) is None
    made = published.sheet(summary)
    assert made is not None and made.rows[0][2] == "1 of 2 finished / 61.5"
    assert made.rows[0][4] == "– / 35"


@pytest.mark.parametrize("model", ["mini", "llava15_13b"])
def test_beside_another_model_nothing_of_the_paper_stands(model: str, root: Path) -> None:
    summary = measured(root, model=model)
    assert published.rows(summary) == [] and published.sheet(summary) is None
    assert "61.5" not in markdown(summary) + latex(summary)


def test_the_page_and_the_files_hold_them(root: Path, tmp_path: Path) -> None:
    measured(root)
    plan = root / "plan" / "demo.json"
    plan.write_text(plan.read_text().replace('"axes"', '"cost_table": "vtip-table6", "axes"'))
    assert main(["study", "--results", str(root), "--study", "demo", "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert "60.0 ±2.5 / 61.5" in page and "the &lt;second&gt; figure" in page
    assert "Cost, computed: VTIP Table 6" in page and "15.0 (15.04) / 13.2 ! (" in page
    for name in ("published.csv", "cost_table.csv", "table.tex"):
        assert (tmp_path / "out" / name).read_text().count("\n") >= 5


def test_an_unknown_cost_table_is_a_clear_error(root: Path) -> None:
    synthetic.write_study(root, head={"cost_table": "vtip-table7"})
    with pytest.raises(ResultError, match=r"did you mean 'vtip-table6'.*correct its cost_table"):
        cost_table.sheet(load_study(root, "demo"))


def test_a_study_that_cannot_run_has_a_page(tmp_path: Path) -> None:
    asked = ["study", "--study", "prumerge_table3", "--conf", str(CONF), "--out", str(tmp_path / "out")]
    assert main(asked) == 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert "unsupported: no model of this project sees videos" in page and "– / 45.3" in page
