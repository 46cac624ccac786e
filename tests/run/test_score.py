"""From answers to numbers: checked against figures worked out by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grid.project import Project
from prunegrid.grid.cell import Cell
from prunegrid.run.compare import compare
from prunegrid.run.cost import cost
from prunegrid.run.files import Files, ResultError, write_jsonl
from prunegrid.run.score import score
from prunegrid.tasks import Sample

from . import lab, made


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def three(project: Project) -> list[Cell]:
    """A reducer, full tokens, blind; on POPE."""
    return lab.cells(lab.study(project, {"random": {"keep": 4}}, "none", "blind", task="mini_pope"))


def mixed(sample: Sample) -> str:
    """Random: right. Popular: always yes. Adversarial: always no."""
    return {"random": str(sample.answer), "popular": "yes", "adversarial": "no"}[sample.meta["split"]]


def test_a_score_is_what_the_answers_are_worth(project: Project, three: list[Cell]) -> None:
    files = made.finish(project, three[0], mixed)
    score(three[0], project.results)
    found = read(files.cell / "score.json")
    # Per split as many yes as no: F1 1, 2/3 and 0; accuracy 1, 1/2 and 1/2.
    assert found["primary"] == "f1"
    assert found["metrics"]["f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert found["metrics"]["accuracy"] == pytest.approx(2 / 3)
    assert found["metrics"]["yes_rate"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found["interval"]["f1"] == pytest.approx(
        [5 / 9, 5 / 9]
    )  # every picture alike: nothing to resample
    assert (found["n"], found["clusters"]) == (6 * lab.IMAGES, lab.IMAGES)
    assert found["new_tokens"] == {"max": 2, "mean": 2.0}
    assert found["result_hash"] == hashlib.sha256(files.records.read_bytes()).hexdigest()[:16]
    judged = [json.loads(line) for line in (files.cell / "judged.jsonl").open(encoding="utf-8")]
    assert len(judged) == found["n"]


def test_the_interval_is_over_pictures_not_questions(project: Project, three: list[Cell]) -> None:
    """Six pictures, three right in all their questions and three wrong in all: each picture counts once."""
    ids: list[str] = []

    def by_picture(sample: Sample) -> str:
        if sample.cluster not in ids:
            ids.append(sample.cluster)
        turned = {"yes": "no", "no": "yes"}[str(sample.answer)]
        return str(sample.answer) if ids.index(sample.cluster) % 2 else turned

    files = made.finish(project, three[0], by_picture)
    score(three[0], project.results)
    low, high = read(files.cell / "score.json")["interval"]["accuracy"]
    assert low <= 1 / 6 and high >= 5 / 6


def test_a_cell_beside_its_twins(project: Project, three: list[Cell]) -> None:
    cell, full, blind = three
    for one, say in zip(three, (mixed, made.right, made.yes), strict=True):
        made.finish(project, one, say)
        score(one, project.results)
    compare(cell, project.results, full.id(), blind.id())
    found = read(Files.of(project.results, cell).cell / "paired.json")
    own, top, floor = 5 / 9, 1, 2 / 3
    assert found["metric"] == "f1"
    assert found["baseline"]["cell"] == full.id()
    assert found["baseline"]["delta"] == pytest.approx(own - top)
    assert found["baseline"]["interval"] == pytest.approx([own - top] * 2)
    assert found["baseline"]["retention"] == pytest.approx(own / top)
    assert found["blind"]["cell"] == blind.id()
    assert found["blind"]["retention_over_floor"] == pytest.approx((own - floor) / (top - floor))


def test_without_twins_nothing_is_compared(project: Project, three: list[Cell]) -> None:
    made.finish(project, three[1], made.right)
    score(three[1], project.results)
    compare(three[1], project.results, None, None)
    found = read(Files.of(project.results, three[1]).cell / "paired.json")
    assert found == {"metric": "f1", "baseline": None, "blind": None}


def test_a_cell_is_not_compared_with_other_questions(project: Project, three: list[Cell]) -> None:
    for one in three[:2]:
        files = made.finish(project, one, made.right)
        score(one, project.results)
    counts = read(files.cell / "counts.json")
    counts = {"clusters": counts["clusters"][1:], "counts": counts["counts"][1:]}
    (files.cell / "counts.json").write_text(json.dumps(counts), encoding="utf-8")
    with pytest.raises(ValueError, match="scene0000"):
        compare(three[0], project.results, three[1].id(), None)


def test_full_tokens_cost_exactly_themselves(project: Project, three: list[Cell]) -> None:
    files = made.finish(project, three[1], made.right)
    cost(three[1], project.results, project.root)
    found = read(files.cell / "cost.json")
    assert found["tokens"] == {"mean": 16, "min": 16, "max": 16, "projected": 16}
    assert found["relative_flops"] == pytest.approx(1) == found["relative_kv"]
    assert found["equivalent_tokens"] == pytest.approx(16)


def test_the_cost_of_fewer_tokens(project: Project, three: list[Cell]) -> None:
    cell, full, _ = three
    files = made.finish(project, cell, made.right, kept=lambda n: 4 if n % 2 else 6)
    whole = made.finish(project, full, made.right)
    for one in (cell, full):
        cost(one, project.results, project.root)
    found, top = read(files.cell / "cost.json"), read(whole.cell / "cost.json")
    assert found["tokens"] == {"mean": 5, "min": 4, "max": 6, "projected": 5}
    assert found["equivalent_tokens"] == pytest.approx(5)
    cached = [sum(map(sum, (row["cache"] for row in lines(f)))) for f in (files, whole)]
    assert found["relative_kv"] == pytest.approx(cached[0] / cached[1]) and cached[0] < cached[1]
    assert (
        found["kv_bytes"] == cached[0] / len(lines(files)) * 2 * 32 * 4
    )  # keys and values, width, bytes of fp32
    assert found["flops"]["vision"] == top["flops"]["vision"]
    assert found["flops"]["projector"] == pytest.approx(top["flops"]["projector"] * 5 / 16)
    assert found["flops"]["total"] == pytest.approx(
        sum(found["flops"][p] for p in ("vision", "projector", "llm_prefill", "llm_decode"))
    )
    assert found["relative_flops"] == pytest.approx(found["flops"]["total"] / top["flops"]["total"])


def lines(files: Files) -> list[dict[str, Any]]:
    return [json.loads(line) for line in files.trace.open(encoding="utf-8")]


def stated(files: Files, own: Callable[[int], float | None]) -> None:
    """Row n of the trace with the reducer's own FLOPs."""
    write_jsonl(files.trace, [{**row, "reducer_flops": own(n)} for n, row in enumerate(lines(files))])


def test_what_a_reducer_computes_itself_is_in_the_total(project: Project, three: list[Cell]) -> None:
    files = made.finish(project, three[0], made.right)
    cost(three[0], project.results, project.root)
    without = read(files.cell / "cost.json")
    stated(files, lambda n: 1e6 if n % 2 else 3e6)
    cost(three[0], project.results, project.root)
    found = read(files.cell / "cost.json")
    assert found["flops"]["reducer"] == pytest.approx(2e6)
    assert found["flops"]["total"] == pytest.approx(without["flops"]["total"] + 2e6)
    assert found["relative_flops"] == pytest.approx(1 + 2e6 / without["flops"]["total"])


@pytest.mark.parametrize(
    "own", [None, lambda n: None, lambda n: 1e6 if n else None], ids=["old", "no", "one"]
)
def test_what_was_not_counted_is_said_and_is_no_zero(
    own: Callable[[int], float | None] | None, project: Project, three: list[Cell]
) -> None:
    """An older prediction, a method that does not state it, and a single row without."""
    files = made.finish(project, three[1], made.right)
    if own:
        stated(files, own)
    cost(three[1], project.results, project.root)
    found = read(files.cell / "cost.json")
    assert found["flops"]["reducer"] is None
    assert found["relative_flops"] == pytest.approx(1)


def test_the_prefill_is_counted_to_the_operation(project: Project, three: list[Cell]) -> None:
    """26 tokens through 4 layers of width 32 (4 heads, MLP 64), one output row over 145 words."""
    files = made.finish(project, three[1], made.right)
    cost(three[1], project.results, project.root)
    tokens, width, hidden, heads, vocabulary = 26, 32, 64, 4, 145
    pairs = tokens * (tokens + 1) // 2  # causal
    layer = 2 * tokens * (4 * width**2 + 3 * width * hidden) + pairs * (4 * width + 5 * heads)
    layer += tokens * (2 * 4 * width + 3 * 2 * width + 2 * width + 5 * hidden)  # norms, RoPE, additions, gate
    found = read(files.cell / "cost.json")["flops"]["llm_prefill"]
    assert found == pytest.approx(lab.LAYERS * layer + 2 * width * vocabulary, rel=1e-12)


@pytest.mark.parametrize("file", ["records.jsonl", "trace.jsonl"])
@pytest.mark.parametrize("cut", ["inside a line", "between lines", "all of it"])
def test_a_cut_prediction_is_refused_by_name_and_line(
    file: str, cut: str, project: Project, three: list[Cell]
) -> None:
    files = made.finish(project, three[0], made.right)
    path = files.prediction / file
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = {"inside a line": [*lines[:3], lines[3][:20]], "between lines": lines[:3], "all of it": []}[cut]
    path.write_text("".join(kept), encoding="utf-8")
    with pytest.raises(ResultError, match=f"prunegrid rerun {three[0].id()}") as caught:
        if file == "records.jsonl":
            score(three[0], project.results)
        else:
            cost(three[0], project.results, project.root)
    assert str(path) in str(caught.value)
    where = "line 4" if cut == "inside a line" else f"has {len(kept)} of {len(lines)} rows"
    assert where in str(caught.value)
    assert not (files.cell / "score.json").exists()
    assert not (files.cell / "cost.json").exists()
