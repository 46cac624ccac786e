"""The table as HTML, and the frame of a page that loads nothing from anywhere."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from prunegrid.report import words
from prunegrid.report.cell import is_mini
from prunegrid.report.provenance import mixed
from prunegrid.report.summary import Field, Summary

_CSS = """
:root { --ink: #1b1f24; --soft: #59636e; --line: #d8dee4; --tint: #f6f8fa; --blue: #0072b2; --red: #b3400e; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  color: var(--ink); background: #fff; max-width: 1240px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 40px 0 10px; padding-bottom: 4px; border-bottom: 1px solid var(--line); }
p, li { max-width: 90ch; } p.soft, .soft { color: var(--soft); } code { font-size: 13px; }
.badge { display: inline-block; font-size: 13px; font-weight: 600; padding: 1px 9px; border-radius: 10px;
  border: 1px solid currentColor; vertical-align: middle; margin-left: 8px; }
.mini { color: #7a4b00; background: #fff4dc; } .count { color: var(--soft); } .failed { color: var(--red); }
.missing, .partial { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 6px 0; }
caption { caption-side: bottom; text-align: left; color: var(--soft); font-size: 13px; padding-top: 8px; }
th, td { padding: 7px 13px; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
thead th { border-bottom: 2px solid var(--ink); background: #fff; }
th:first-child { text-align: left; position: sticky; left: 0; background: #fff; white-space: normal;
  min-width: 190px; font-weight: 600; }
tbody tr:hover td, tbody tr:hover th { background: var(--tint); }
td small { display: block; color: var(--soft); font-size: 12.5px; line-height: 1.4; }
td b { font-weight: 600; } td .paper { color: var(--blue); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; background: var(--tint);
  border: 1px solid var(--line); border-radius: 6px; padding: 12px 16px; margin: 16px 0; font-size: 14px; }
dt { font-weight: 600; } dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 14px 0; } figure img { max-width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: 13px; }
pre { background: var(--tint); border: 1px solid var(--line); border-radius: 6px; padding: 10px 14px;
  overflow-x: auto; font-size: 12.5px; }
@media print { body { max-width: none; } h2 { break-after: avoid; } figure, tr { break-inside: avoid; } }
"""


def page(title: str, body: str) -> str:
    """A complete page; the policy in its head forbids the browser to load anything."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def heading(summary: Summary) -> str:
    """Title, badges, model and source."""
    study = summary.study
    mini = '<span class="badge mini">mini</span>' if study.mini else ""
    count = f'<span class="badge count">{escape(study.progress)}</span>'
    source = study.plan.get("source")
    lines = [f"<h1>{escape(study.title)} {mini}{count}</h1>"]
    models = escape(", ".join(study.models))
    lines.append(f'<p class="soft">Study <code>{escape(study.name)}</code>, model {models}.')
    lines.append(f"After {escape(str(source))}.</p>" if source else "</p>")
    if any(map(is_mini, study.models)):
        lines.append(f"<p>{escape(words.MINI)}</p>")
    lines += [f"<p><strong>{escape(warning)}</strong></p>" for warning in mixed(study)]
    return "\n".join(lines)


def table(summary: Summary) -> str:
    """Rows by columns; a field: score, difference, retention, cost, and the paper's number if comparable."""
    head = "".join(f"<th>{escape(column)}{_metric(summary, column)}</th>" for column in summary.columns)
    rows = []
    for row in summary.rows:
        fields = [summary.fields.get((row, column)) for column in summary.columns]
        badge = '<br><span class="badge mini">mini</span>' if _label_mini(summary, row) else ""
        rows.append(f"<tr><th>{escape(row)}{badge}</th>{''.join(_cell(field) for field in fields)}</tr>")
    return (
        f'<div class="scroll"><table>\n<caption>{escape(words.LEGEND)}</caption>\n'
        f"<thead><tr><th>method</th>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody></table></div>"
    )


def _label_mini(summary: Summary, row: str) -> bool:
    """Only where other rows are not mini; a study of one scale says it once, at the top."""
    return not summary.study.mini and any(is_mini(field.model) for field in summary.of_row(row))


def _metric(summary: Summary, column: str) -> str:
    field = next((f for f in summary.of_column(column) if f.score), None)
    return f'<br><small class="soft">{escape(field.metric)}, {field.unit}</small>' if field else ""


def _cell(field: Field | None) -> str:
    if field is None:
        return "<td></td>"
    lines = _cost_lines(field) if field.score else []
    if field.published is not None:
        lines.append(f'<span class="paper">published {field.published:g}</span>')
    text = words.score(field)
    main = f"<b>{text}</b>" if field.score else f'<span class="{field.state}">{text}</span>'
    return f"<td>{main}{''.join(f'<small>{line}</small>' for line in lines)}</td>"


def _cost_lines(field: Field) -> list[str]:
    lines = []
    if field.delta:
        lines.append(f"Δ {words.delta_interval(field)}")
    if field.retention:
        over = f", over blind {field.retention_floor.value:.0f} %" if field.retention_floor else ""
        lines.append(f"keeps {field.retention.value:.0f} %{over}")
    if field.tokens:
        mean, low, high = field.tokens
        span = "" if low == high else f" ({low:g}–{high:g})"
        lines.append(f"{mean:.1f} tokens{span}")
    if field.flops is not None:
        share = "" if field.relative_flops is None else f" ({100 * field.relative_flops:.0f} %)"
        more = ", the method's own not counted" if field.uncounted else ""
        lines.append(f"{words.flops(field.flops)}FLOPs{share}{more}")
    if field.relative_kv is not None:
        lines.append(f"KV cache {100 * field.relative_kv:.0f} %")
    if seeds := words.seeds(field):
        sd = "" if field.seed_sd is None else f", sd {field.seed_sd:.{field.digits}f}"
        lines.append(f'<span class="{field.state}">{seeds}{sd}</span>')
    return lines


def picture(file: Path, caption: str) -> str:
    """A PNG as part of the page."""
    data = base64.b64encode(file.read_bytes()).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption, quote=True)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
