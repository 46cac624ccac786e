"""Everything that a study's report consists of, written into one folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from html import escape
from pathlib import Path

from prunegrid.grid.atomic import write_text
from prunegrid.report import clutter, cost_table, figures, html, kept_table, published, sheet, speed, tables
from prunegrid.report.cell import Cell
from prunegrid.report.drawings import drawings
from prunegrid.report.histogram import study_histogram
from prunegrid.report.overlay import Panel, gallery, panel, samples_with_pictures
from prunegrid.report.provenance import provenance
from prunegrid.report.results import Study, load_study
from prunegrid.report.style import save
from prunegrid.report.summary import Summary, summarise

EXAMPLES = 4  # pictures with overlays
_PANELS = 15  # methods on one picture; more are told, not drawn


def build(results: Path, name: str, out: Path) -> Summary:
    """Write index.html, table.{md,csv,tex,html,txt}, front_{tokens,flops}, histogram, figures/ (those that its cells call
    for) and overlays/ into `out`, and where there is something of the kind speed.csv and front_seconds, published.csv,
    cost_table.csv."""
    summary = summarise(load_study(results, name))
    out.mkdir(parents=True, exist_ok=True)
    title = summary.study.title
    write_text(out / "table.txt", tables.render_text(summary))
    write_text(out / "table.md", tables.markdown(summary))
    write_text(out / "table.csv", tables.as_csv(summary))
    write_text(out / "table.tex", tables.latex(summary))
    _write_paper(summary, out)
    write_text(out / "table.html", html.page(title, html.heading(summary) + html.table(summary)))
    save(figures.front(summary, figures.TOKENS), out / "front_tokens")
    save(figures.front(summary, figures.FLOPS), out / "front_flops")
    if found := speed.speeds(summary):
        save(figures.front(summary, figures.seconds(summary)), out / "front_seconds")
        write_text(out / "speed.csv", sheet.csv_of(speed.table(found)))
    save(study_histogram(summary), out / "histogram")
    _write_kept(summary, out)
    drawn = _drawings(summary, out / "figures")
    overlays = _overlays(summary, out / "overlays")
    write_text(out / "index.html", html.page(title, _body(summary, out, drawn, overlays)))
    return summary


def _write_paper(summary: Summary, out: Path) -> None:
    """What the paper printed, and its cost table computed, as lines to compute with."""
    if published.rows(summary):
        write_text(out / "published.csv", sheet.csv_of(published.lines(summary)))
    if computed := cost_table.load(summary.study):
        write_text(out / "cost_table.csv", sheet.csv_of(cost_table.lines(computed)))


def _drawings(summary: Summary, folder: Path) -> str:
    """Write the figures that the cells call for, as vectors and pixels; the page's sections that show them."""
    shutil.rmtree(folder, ignore_errors=True)  # those of an earlier plan must not stay
    folder.mkdir(parents=True)
    parts = []
    for each in drawings(summary):
        save(each.figure, folder / each.stem)
        picture = html.picture(folder / f"{each.stem}.png", each.caption)
        parts.append(f"<h2>{escape(each.heading)}</h2>\n{picture}")
    return "\n".join(parts)


def _write_kept(summary: Summary, out: Path) -> None:
    """kept.csv and clutter, where something is known of the pictures; what an earlier plan left goes."""
    for name in ("clutter.png", "clutter.svg", "kept.csv"):
        (out / name).unlink(missing_ok=True)
    if found := kept_table.lines(summary):
        write_text(out / "kept.csv", sheet.csv_of(found))
    if drawn := clutter.clutter(summary):
        save(drawn, out / "clutter")


def _overlays(summary: Summary, folder: Path) -> list[tuple[Path, str]]:
    """A figure per example, (file, caption): the benchmarks take turns."""
    shutil.rmtree(folder, ignore_errors=True)  # examples of an earlier plan must not stay
    folder.mkdir(parents=True)
    each = max(1, EXAMPLES // max(1, len(summary.columns)))
    made: list[tuple[Path, str]] = []
    for column in summary.columns:
        cells = summary.finished(column)
        for sample in samples_with_pictures(cells[0], each) if cells else []:
            panels = _panels(cells, sample)
            if len(panels) > 1 and len(made) < EXAMPLES:
                file = folder / f"{len(made) + 1}_{column}"
                save(gallery(panels), file, vector=False)
                made.append((file.with_name(f"{file.name}.png"), _caption(cells, column, sample)))
    return made


def _panels(cells: Sequence[Cell], sample: str) -> list[Panel]:
    drawn = (panel(cell, sample, cell.row) for cell in cells[:_PANELS])
    return [each for each in drawn if each]


def _caption(cells: Sequence[Cell], column: str, sample: str) -> str:
    record = next((row for row in cells[0].records() if row["id"] == sample), {})
    more = f"; {len(cells) - _PANELS} more methods are not drawn" if len(cells) > _PANELS else ""
    answer = record.get("answer")
    known = dict.fromkeys(map(str, answer if isinstance(answer, list) else [answer]))
    expected = f"{column}, sample {sample}: expected answer “{' / '.join(known)}”"
    return f"{expected}; below each picture what was said{more}."


def _body(summary: Summary, out: Path, drawn: str, overlays: Sequence[tuple[Path, str]]) -> str:
    parts = [html.heading(summary), _provenance_box(summary.study), "<h2>Table</h2>", html.table(summary)]
    parts += [
        sheet.html(said) for said in (published.sheet(summary), cost_table.sheet(summary.study)) if said
    ]
    parts += ["<h2>Fronts</h2>"]
    parts += [html.picture(out / "front_tokens.png", f"Score over tokens, {_FRONT_NOTE}")]
    parts += [html.picture(out / "front_flops.png", f"Score over FLOPs, {_FRONT_NOTE}")]
    if measured := speed.section(summary):
        parts += [measured, html.picture(out / "front_seconds.png", f"Score over seconds, {_FRONT_NOTE}")]
    parts += [drawn] if drawn else []
    parts += ["<h2>How many tokens the samples keep</h2>"]
    parts += [html.picture(out / "histogram.png", "Ridges are scaled one by one; all benchmarks together.")]
    parts += [sheet.html(said) for said in kept_table.sheets(summary)]
    if (out / "clutter.png").exists():
        parts += [html.picture(out / "clutter.png", clutter.CAPTION)]
    if overlays:
        parts += ["<h2>Where the kept tokens lie</h2>", _OVERLAY_NOTE]
        parts += [html.picture(file, caption) for file, caption in overlays]
    return "\n".join([*parts, _unfinished(summary.study)])


_FRONT_NOTE = (
    "95 % intervals; up and left is better. Points of one budget are set side by side around it; the step "
    "line joins the scores that nothing cheaper reaches."
)
_OVERLAY_NOTE = (
    '<p class="soft">Dropped patches are faded, kept ones are outlined. Where tokens are mixed, each patch that went into '
    "another token is half faded and tied to it by a line: to its patch, or to a ring where it stands for none; dots "
    "without lines are parts of a token that holds more than a quarter of the picture. Under pictures of methods that "
    "read, the words they went by are bold and underlined.</p>"
)


def _provenance_box(study: Study) -> str:
    items = (
        f"<dt>{escape(label)}</dt><dd>{'<br>'.join(map(escape, values))}</dd>"
        for label, values in provenance(study).items()
    )
    return f"<dl>{''.join(items)}</dl>"


def _unfinished(study: Study) -> str:
    """Every failed cell with reason, log and the command that runs it again; the missing ones by name."""
    parts = []
    for cell in study.everything:
        if failure := cell.failure:
            said = {key: escape(str(failure.get(key))) for key in ("stage", "reason", "log", "rerun")}
            tail = "\n".join(map(str, failure.get("log_tail") or []))
            parts.append(
                f'<p><b class="failed">{escape(cell.id)}</b> failed in {said["stage"]}: {said["reason"]}<br>'
                f"Log <code>{said['log']}</code>, again: <code>{said['rerun']}</code></p>"
                f"<pre>{escape(tail)}</pre>"
            )
    missing = [cell.id for cell in study.everything if cell.state == "missing"]
    if missing:
        parts.append(f'<p class="missing">Missing: {escape(", ".join(missing))}</p>')
    return "\n".join(["<h2>Not finished</h2>", *parts]) if parts else ""
