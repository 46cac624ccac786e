"""A study as a run: its table, figures and report page, and how many of its cells are done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prunegrid.report.results import Study
from prunegrid.report.study import build
from prunegrid.report.summary import summarise
from prunegrid.report.tables import as_csv, markdown
from prunegrid.track.entry import Entry, digest, flatten, tag_text


def study_entry(study: Study) -> Entry:
    """The run of a study as it stands now; its hash covers every number of the table and every failure."""
    summary = summarise(study)
    states = [[cell.id, cell.state, (cell.failure or {}).get("reason")] for cell in study.everything]
    counts = {f"cells_{state}": float(study.count(state)) for state in ("done", "failed", "missing")}
    plan = {key: study.plan.get(key) for key in ("title", "source", "axes", "layout")}
    return Entry(
        name=f"study {study.name}",
        identity=("kind", "study"),
        result_hash=digest([as_csv(summary), states]),
        status="FAILED" if study.count("failed") else "FINISHED",
        params=flatten(plan),
        metrics={"cells": float(study.size), **counts},
        tags={
            "study": study.name,
            "model": ", ".join(study.models),
            "mini": str(study.mini).lower(),
            "progress": study.progress,
            "mlflow.note.content": tag_text(markdown(summary)),
        },
    )


def study_files(study: Study, page: Path | None, scratch: Path) -> Iterator[tuple[Path, str]]:
    """Everything that the report in the folder `page` consists of; None: it is built."""
    out = page or scratch / "report"
    if page is None:
        build(study.root, study.name, out)
    for file in sorted(file for file in out.rglob("[!.]*") if file.is_file()):
        folder = file.parent.relative_to(out).as_posix()
        yield file, "report" if folder == "." else f"report/{folder}"
