import pytest

from prunegrid.track.entry import Entry, flatten, metric_name, milliseconds, tag_text


def test_flatten_names_leaves_and_cuts_long_values() -> None:
    found = flatten({"model": {"name": "mini", "side": 12}, "tuning": None, "list": [1, 2], "x": "y" * 900})
    assert found["model.name"] == "mini" and found["model.side"] == "12"
    assert found["tuning"] == "null" and found["list"] == "[1, 2]"
    assert len(found["x"]) == 500 and found["x"].endswith("…")


def test_metric_names_are_legal() -> None:
    assert metric_name("task/acc+") == "task/acc_plus"
    assert metric_name("f1 @ 0.5") == "f1 _ 0.5"


@pytest.mark.parametrize(
    ("moment", "expected"),
    [("1970-01-01T00:01:00+00:00", 60_000), ("1970-01-01T00:01:00", 60_000), (60.5, 60_500), (None, None), ("?", None)],
)  # fmt: skip
def test_moments(moment: object, expected: int | None) -> None:
    assert milliseconds(moment) == expected


def test_long_text_is_cut_after_a_line() -> None:
    text = "\n".join(f"line {i}" for i in range(3000))
    cut = tag_text(text)
    assert len(cut) < 8000 and cut.endswith("the whole text is an artefact)")
    assert cut.split("\n\n…")[0].splitlines()[-1] in text.splitlines()
    assert tag_text("short") == "short"


def test_content_follows_metrics_and_tags_not_parameters() -> None:
    entry = Entry("n", ("cell_id", "c"), "h", "FINISHED", metrics={"a": 1.0}, tags={"t": "x"})
    same = Entry("n", ("cell_id", "c"), "h", "FINISHED", {"p": "1"}, {"a": 1.0}, {"t": "x"})
    other = Entry("n", ("cell_id", "c"), "h", "FINISHED", metrics={"a": 2.0}, tags={"t": "x"})
    assert entry.content == same.content != other.content
