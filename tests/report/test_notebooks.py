"""The notebooks run on results as they are written, hold no outputs, and say what to do where there is nothing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prunegrid.report import notebook
from prunegrid.report.cell import ResultError

from . import synthetic

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = ["01_one_sample", "02_where_tokens_go", "03_study"]


def code_of(name: str) -> Iterator[str]:
    for cell in json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            yield "".join(cell["source"])


@pytest.fixture
def repository(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a notebook takes for the repository; it is started in a folder of it."""
    home = root.parent
    (home / "pyproject.toml").touch()
    (home / "conf").mkdir()
    (home / "notebooks").mkdir()
    monkeypatch.chdir(home / "notebooks")
    return home


@pytest.mark.parametrize("name", NAMES)
def test_runs_on_results(name: str, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic.write_study(repository / "results")
    assert executed(name) == {"01_one_sample": 1, "02_where_tokens_go": 2, "03_study": 2}[name]
    assert "topk_cls keep=36" in capsys.readouterr().out


def executed(name: str) -> int:
    """Run a notebook's cells; how many pictures it shows."""
    scope: dict[str, Any] = {}
    pictures = 0
    for source in code_of(name):
        *head, last = source.strip().splitlines()
        if last.startswith("Picture"):  # what a notebook would show
            exec("\n".join(head), scope)
            shown = eval(last, scope)
            if last.startswith("Pictures("):
                assert shown._repr_html_().count("data:image/png;base64,iVBOR") == len(shown)
                pictures += len(shown)
            else:
                pictures += shown._repr_png_().startswith(b"\x89PNG")
        else:
            exec(source, scope)
    return pictures


def test_a_study_of_attention_and_curves_shows_both(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tail = {"watched": ("attention_tail", 20, 1)}
    curve = {f"top-k {k}": ("topk_cls", k, 1) for k in (20, 36, 72)}
    synthetic.write_study(repository / "results", "tails", rows={"none": ("none", 144, 1), **tail, **curve})
    for file in (repository / "results" / "predictions").glob("mini-attention_tail-*/trace.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        synthetic.lines(
            file, [row | {"notes": {f"attention rank {2**k}": 0.5**k for k in range(8)}} for row in rows]
        )
    monkeypatch.setenv("PRUNEGRID_STUDY", "tails")
    assert executed("02_where_tokens_go") == 3
    assert executed("03_study") == 2 + 2  # attention, budget
    assert "watched" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_says_what_to_run_where_nothing_is(name: str, repository: Path) -> None:
    first = next(code_of(name))
    with pytest.raises(
        ResultError, match="run `snakemake --profile workflow/profiles/local --config study=demo`"
    ):
        exec(first, {})


@pytest.mark.parametrize("name", NAMES)
def test_has_no_outputs(name: str) -> None:
    book = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert code and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_nothing_finished_is_said_too(root: Path) -> None:
    rows = {"none": ("none", 144, 1)}
    synthetic.write_study(root, columns=["a"], rows=rows, missing=[("none", "a")])
    with pytest.raises(ResultError, match="has no finished cell"):
        notebook.open_study("demo", root)


def test_outside_of_a_repository(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="lies in no PruneGrid repository"):
        notebook.find_root(tmp_path)
