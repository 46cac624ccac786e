"""One small table with what is said about it, in the three forms that are pasted elsewhere, and as HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

# one pass over these: what one replacement writes, no other one may touch
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "−": "$-$", "–": "--", "×": r"$\times$", "Δ": r"$\Delta$", "≤": r"$\leq$", "≥": r"$\geq$",
    "†": r"\dag{}", "“": "``", "”": "''", "τ": r"$\tau$", "α": r"$\alpha$",
}  # fmt: skip


@dataclass(frozen=True)
class Sheet:
    """`rows` of texts, all as long as the `head`; the first column names the row. `notes` stand below, numbered."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    lead: str = ""
    notes: Sequence[str] = ()


def markdown(sheet: Sheet, level: int = 3) -> str:
    """Title, lead, table, footnotes."""
    parts = [f"{'#' * level} {sheet.title}", *([sheet.lead] if sheet.lead else [])]
    if sheet.rows:
        parts.append(markdown_table([sheet.head, *sheet.rows]))
    parts += [f"{i}. {note}" for i, note in enumerate(sheet.notes, 1)]
    return "\n\n".join(parts)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """The head first; numbers to the right."""
    rule = ["---", *["---:"] * (len(rows[0]) - 1)]
    lines = [list(map(_escaped, rows[0])), rule, *(list(map(_escaped, row)) for row in rows[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("\n", " ")


def csv_of(rows: Sequence[Sequence[object]]) -> str:
    """Values as they stand, the head first; None is an empty field."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def latex(sheet: Sheet) -> str:
    """A `table` environment, which needs the package booktabs and nothing else; without rows a paragraph."""
    said = [*([sheet.lead] if sheet.lead else []), *(f"({i}) {n}" for i, n in enumerate(sheet.notes, 1))]
    if not sheet.rows:
        return "\n\n".join(tex(text) for text in (f"{sheet.title}.", *said)) + "\n"
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{tex(sheet.title)}}}",
        f"\\begin{{tabular}}{{l{'r' * (len(sheet.head) - 1)}}}",
        "\\toprule",
        _tex_row(sheet.head),
        "\\midrule",
        *map(_tex_row, sheet.rows),
        "\\bottomrule",
        "\\end{tabular}",
        *(f"\n\\smallskip\\footnotesize\\raggedright {tex(text)}" for text in said),
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _tex_row(texts: Sequence[str]) -> str:
    return " & ".join(tex(text) for text in texts) + " \\\\"


def tex(text: str) -> str:
    """`text` as LaTeX prints it letter by letter."""
    return "".join(LATEX.get(letter, letter) for letter in text.replace("\n", " "))


def html(sheet: Sheet) -> str:
    """A section of the page."""
    parts = [f"<h2>{escape(sheet.title)}</h2>"]
    parts += [f'<p class="soft">{escape(sheet.lead)}</p>'] if sheet.lead else []
    if sheet.rows:
        head = "".join(f"<th>{escape(text)}</th>" for text in sheet.head)
        body = "\n".join(
            f"<tr><th>{escape(row[0])}</th>{''.join(f'<td>{escape(text)}</td>' for text in row[1:])}</tr>"
            for row in sheet.rows
        )
        parts.append(
            f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
        )
    if sheet.notes:
        parts.append(f'<ol class="soft">{"".join(f"<li>{escape(note)}</li>" for note in sheet.notes)}</ol>')
    return "\n".join(parts)
