"""The page of a study that cannot run: why, and what the paper printed."""

from __future__ import annotations

from html import escape
from pathlib import Path

from prunegrid.grid import study as studies
from prunegrid.grid.atomic import write_text
from prunegrid.grid.errors import GridError
from prunegrid.report import cost_table, html, published, sheet
from prunegrid.report.cell import ResultError
from prunegrid.report.results import Study
from prunegrid.report.summary import summarise


def declared(conf: Path, name: str) -> Study | None:
    """The study of conf/study, without cells, if it says of itself that it cannot run; None for every other name."""
    if not (conf / "study" / f"{name}.yaml").is_file():
        return None
    try:
        found = studies.read(conf, name)
    except GridError as error:
        raise ResultError(str(error)) from error
    if not found.unsupported:
        return None
    plan = {
        "study": name,
        "title": found.title,
        "source": found.source,
        "published": dict(found.published),
        "cost_table": found.cost_table,
        "unsupported": found.unsupported,
    }
    return Study(Path(), plan, ())


def build(study: Study, out: Path) -> None:
    """Write index.html, table.{md,tex} and published.csv into `out`."""
    summary = summarise(study)
    reason = f"unsupported: {study.plan['unsupported']}"
    said = [each for each in (published.sheet(summary), cost_table.sheet(study)) if each]
    head = (
        f'<h1>{escape(study.title)} <span class="badge count">unsupported</span></h1>\n'
        f'<p class="soft">Study <code>{escape(study.name)}</code>.</p>\n<p>{escape(reason)}.</p>'
    )
    write_text(out / "index.html", html.page(study.title, "\n".join([head, *map(sheet.html, said)])))
    write_text(
        out / "table.md", "\n\n".join([f"## {study.title}", reason, *map(sheet.markdown, said)]) + "\n"
    )
    write_text(out / "table.tex", "\n".join([f"% {reason}", *map(sheet.latex, said)]))
    write_text(out / "published.csv", sheet.csv_of(published.lines(summary)))
