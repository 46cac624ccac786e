"""A table whose cells ran on different hardware, dtypes or batch sizes says so."""

import json
from pathlib import Path

import pytest

from prunegrid.report.html import heading
from prunegrid.report.provenance import mixed
from prunegrid.report.results import load_study
from prunegrid.report.summary import summarise
from prunegrid.report.tables import markdown, render_text

from . import synthetic


def change(root: Path, **values: object) -> None:
    """Give one prediction of the study another provenance."""
    file = sorted((root / "predictions").glob("*/provenance.json"))[0]
    synthetic.dump(file, json.loads(file.read_text(encoding="utf-8")) | values)


def test_a_table_of_one_kind_has_no_warning(root: Path) -> None:
    synthetic.write_study(root)
    assert mixed(load_study(root, "demo")) == []
    assert "Warning" not in render_text(summarise(load_study(root, "demo")))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("hardware", "NVIDIA H200", "mixes GPUs (2 CPU cores, NVIDIA H200)"),
        ("dtype", "float16", "mixes dtypes (bfloat16, float16)"),
        ("batch_size", 1, "mixes batch sizes (1, 16)"),
    ],
)
def test_what_is_mixed_is_named_wherever_the_table_is_shown(
    root: Path, key: str, value: object, said: str
) -> None:
    synthetic.write_study(root)
    change(root, **{key: value})
    study = load_study(root, "demo")
    (warning,) = mixed(study)
    assert said in warning
    for page in (
        render_text(summarise(study), width=1000),
        markdown(summarise(study)),
        heading(summarise(study)),
    ):
        assert said in page
