import csv
import io
import re

from prunegrid.report.sheet import Sheet, csv_of, html, latex, markdown

SHEET = Sheet(
    "Cost & score",
    ["method", "a_b", "50 % {x}"],
    [["top|k #1", "81.2 ±2.1*", "– / 3"], ["x^2 ~ \\y$", "<b>", "Δ “q”"]],
    "What it is.",
    ["first", "second: 5 % off"],
)


def test_latex_has_a_line_per_row_and_no_letter_that_means_something_else() -> None:
    text = latex(SHEET)
    body = text[text.index("\\toprule") : text.index("\\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith("\\\\")]
    assert len(lines) == 3 and all(len(re.findall(r"(?<!\\)&", line)) == 2 for line in lines)
    assert "\\begin{tabular}{lrr}" in text
    assert lines[0] == "method & a\\_b & 50 \\% \\{x\\} \\\\"
    assert lines[1] == "top|k \\#1 & 81.2 $\\pm$2.1* & -- / 3 \\\\"
    odd = "x\\textasciicircum{}2 \\textasciitilde{} \\textbackslash{}y\\$"
    assert lines[2] == odd + " & \\textless{}b\\textgreater{} & $\\Delta$ ``q'' \\\\"
    assert text.isascii()
    assert text.index("What it is.") < text.index("(1) first") < text.index("(2) second: 5 \\% off")


def test_latex_closes_what_it_opens() -> None:
    text = latex(SHEET)
    for name in ("table", "tabular"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") == 1
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")


def test_markdown_is_rectangular_and_numbers_its_notes() -> None:
    lines = markdown(SHEET).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in table] == [4, 4, 4, 4]
    assert "1. first" in lines and "2. second: 5 % off" in lines and lines[0] == "### Cost & score"


def test_csv_keeps_values_and_leaves_unknown_ones_empty() -> None:
    rows = list(csv.reader(io.StringIO(csv_of([["a", "b"], [0.1234567, None], ["x,y", 'z"']]))))
    assert rows == [["a", "b"], ["0.1234567", ""], ["x,y", 'z"']]


def test_html_shows_texts_as_they_are() -> None:
    text = html(SHEET)
    assert "<td>&lt;b&gt;</td>" in text and "Cost &amp; score" in text and text.count("<li>") == 2


def test_a_sheet_without_rows_is_its_words() -> None:
    bare = Sheet("T", ["a"], [], "lead", ["note"])
    assert latex(bare) == "T.\n\nlead\n\n(1) note\n"
    assert "|" not in markdown(bare) and "<table>" not in html(bare) and "note" in html(bare)
