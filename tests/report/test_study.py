import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from prunegrid.report.__main__ import main
from prunegrid.report.study import build

from . import synthetic

FAILED, MISSING = ("topk_cls keep=36", "mini_vqa"), ("blind", "mini_pope")


class References(HTMLParser):
    """Everything that a browser would load, and every tag that was left open."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "iframe", "object"):
            self.loaded.append(tag)
        self.loaded += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study with a failed and a missing cell."""
    folder = tmp_path_factory.mktemp("study")
    synthetic.draw_pictures(folder / "data" / "scenes")
    synthetic.write_study(folder / "results", failed=[FAILED], missing=[MISSING])
    build(folder / "results", "demo", folder / "out")
    return folder / "out"


@pytest.mark.parametrize("name", ["index.html", "table.html"])
def test_pages_load_nothing(report: Path, name: str) -> None:
    text = (report / name).read_text()
    parser = References()
    parser.feed(text)
    assert parser.open == []
    assert all(each.startswith("data:image/png;base64,") for each in parser.loaded)
    assert not re.search(r"url\(|@import|https?://", text.split("</head>")[0])
    assert "default-src 'none'" in text
    if name == "index.html":
        assert len(parser.loaded) == 3 + 4  # two fronts, the histogram, four overlays


def test_everything_is_written(report: Path) -> None:
    names = {str(file.relative_to(report)) for file in report.rglob("*") if file.is_file()}
    assert names >= {
        "index.html", "table.html", "table.md", "table.csv", "table.txt", "front_tokens.png",
        "front_tokens.svg", "front_flops.png", "front_flops.svg", "histogram.png", "histogram.svg",
    }  # fmt: skip
    assert len([name for name in names if name.startswith("overlays/")]) == 4
    assert not [name for name in names if name.endswith(".tmp")]


def test_page_says_where_the_numbers_come_from(report: Path) -> None:
    text = (report / "index.html").read_text()
    for word in ("14 of 16 cells (1 failed, 1 missing)", "a" * 32, "c0de5eed", "2 CPU cores", "torch 2.13.0"):
        assert word in text
    assert '<span class="badge mini">mini</span>' in text


def test_page_tells_what_failed_and_how_to_go_on(report: Path) -> None:
    text = (report / "index.html").read_text()
    assert "CUDA out of memory" in text and "snakemake -R results/predictions/" in text
    assert '<span class="failed">failed</span>' in text and '<span class="missing">missing</span>' in text


def test_names_cannot_become_markup(root: Path, tmp_path: Path) -> None:
    row = "topk <script>alert(1)</script>"
    synthetic.write_study(root, rows={row: ("topk_cls", 36, 1)}, head={"title": "<b>T</b> & more"})
    build(root, "demo", tmp_path / "out")
    text = (tmp_path / "out" / "index.html").read_text()
    assert "<script" not in text and "&lt;script&gt;" in text and "&lt;b&gt;T&lt;/b&gt; &amp; more" in text


def test_overlays_of_an_earlier_plan_go_away(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "overlays").mkdir(parents=True)
    (out / "overlays" / "9_old.png").write_bytes(b"old")
    synthetic.write_study(root, columns=["a"])
    build(root, "demo", out)
    assert not (out / "overlays" / "9_old.png").exists()


def test_a_study_without_any_result_still_has_a_report(root: Path, tmp_path: Path) -> None:
    rows = {"none": ("none", 144, 1)}
    synthetic.write_study(root, columns=["a"], rows=rows, missing=[("none", "a")])
    build(root, "demo", tmp_path / "out")
    text = (tmp_path / "out" / "index.html").read_text()
    assert "0 of 1 cells (1 missing)" in text and '<span class="missing">missing</span>' in text


def test_command_line(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic.write_study(root, columns=["a"])
    assert main(["text", "--results", str(root), "--study", "demo"]) == 0
    assert "topk_cls keep=36" in capsys.readouterr().out
    assert main(["study", "--results", str(root), "--study", "nope", "--out", str(tmp_path / "o")]) == 1
    assert "no such plan (planned: demo)" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
