"""The charts of a study in the user interface of MLflow 3.17: scatter charts of each task's score, by section."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prunegrid.report.cell import Cell
from prunegrid.report.results import Study
from prunegrid.track.entry import flatten, latency_name, metric_name

COSTS = (("Score over tokens", "equivalent_tokens"), ("Score over FLOPs", "relative_flops"))
_MADE = (
    "score",
    "task",
    "strict",
    "flops",
    "Model metrics",
    "System metrics",
)  # by the interface, from metric names
_NO_SWEEP = ("reducer.name", "reducer._target_", "tuning.reducer.", "tuning._target_")


@dataclass(frozen=True)
class Axis:
    """What a section's charts have below: a metric or a parameter of the runs, and the tasks where it is known."""

    title: str
    key: str
    type: Literal["METRIC", "PARAM"]
    tasks: tuple[str, ...]


def axes(study: Study) -> list[Axis]:
    """Cost, then each measured latency, then each parameter that the study sweeps. Of finished cells alone."""
    cells = [cell for cell in study.cells if cell.state == "done"]
    costs = [Axis(title, key, "METRIC", _tasks(cells)) for title, key in COSTS if cells]
    return [*costs, *_latencies(cells), *_sweeps(cells)]


def _tasks(cells: Iterable[Cell]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(cell.column for cell in cells))


def _latencies(cells: Sequence[Cell]) -> Iterator[Axis]:
    measured: dict[str, list[Cell]] = {}
    titles: dict[str, str] = {}
    for cell in cells:
        for point in cell.latency.get("points") or []:
            key = metric_name(f"{latency_name(point)}/total")
            measured.setdefault(key, []).append(cell)
            batch, new = point["batch_size"], point["new_tokens"]
            titles[key] = f"Score over milliseconds, batch {batch}, {new} new token{'s'[: new != 1]}"
    for key, those in measured.items():
        yield Axis(titles[key], key, "METRIC", _tasks(those))


def _sweeps(cells: Sequence[Cell]) -> Iterator[Axis]:
    """Parameters that take several values for one method on one task: a method is no point of another's sweep."""
    seen: dict[str, dict[tuple[str, str], set[str]]] = {}
    for cell in cells:
        planned = {group: cell.planned.get(group) for group in ("reducer", "tuning")}
        for name, value in flatten(planned).items():
            if not name.startswith(_NO_SWEEP):
                seen.setdefault(name, {}).setdefault((cell.column, cell.reducer), set()).add(value)
    for name, places in seen.items():
        tasks = dict.fromkeys(task for (task, _), values in places.items() if len(values) > 1)
        if tasks:
            yield Axis(f"Score over {name}", name, "PARAM", tuple(tasks))


def charts(study: Study) -> dict[str, Any]:
    """Sections and charts: every axis with a scatter chart per task; over all swept parameters parallel coordinates."""
    found = axes(study)
    made = [(axis.title, [_scatter(axis, task) for task in axis.tasks]) for axis in found]
    if swept := [axis.key for axis in found if axis.type == "PARAM"]:
        made.append(("All swept parameters", [_parallel(swept)]))
    timed = dict.fromkeys(a.key.rsplit("/", 1)[0] for a in found if a.key.startswith("latency_ms/"))
    return _laid_out(made, columns=2, folded=(*_MADE, *timed))


def pictures(title: str, keys: Sequence[str]) -> dict[str, Any]:
    """A grid with a column per run and a row per picture; the interface shows ten runs at most."""
    grid = {**_chart(title, "IMAGE"), "imageKeys": list(keys), "step": 0, "showRunParams": False}
    laid = _laid_out([(title, [grid])], columns=1, folded=_MADE)
    laid["compareRunSections"][0]["cardHeight"] = 900
    return laid


def _laid_out(
    made: Sequence[tuple[str, list[dict[str, Any]]]], columns: int, folded: Iterable[str]
) -> dict[str, Any]:
    """As the interface's state has it. It adds a bar chart of every metric, in the sections that are `folded`."""
    shown = [_section(title, True) | {"columns": columns} for title, _ in made]
    placed = [{**chart, "metricSectionId": _id(title)} for title, those in made for chart in those]
    return {
        "compareRunSections": [*shown, *(_section(name, False) for name in folded)],
        "compareRunCharts": placed,
        "isAccordionReordered": True,
    }


def _section(name: str, display: bool) -> dict[str, Any]:
    return {"uuid": _id(name), "name": name, "display": display, "isReordered": True, "deleted": False,
            "isGenerated": False}  # fmt: skip


def _chart(name: str, kind: str) -> dict[str, Any]:
    return {"uuid": _id(f"chart {name}"), "type": kind, "runsCountToCompare": 100, "deleted": False,
            "isGenerated": False, "displayName": name}  # fmt: skip


def _scatter(axis: Axis, task: str) -> dict[str, Any]:
    score = {"key": metric_name(f"score/{task}"), "type": "METRIC"}
    return {
        **_chart(f"{axis.title}: {task}", "SCATTER"),
        "xaxis": {"key": axis.key, "type": axis.type},
        "yaxis": score,
    }


def _parallel(swept: Sequence[str]) -> dict[str, Any]:
    chosen = {"selectedParams": list(swept), "selectedMetrics": ["equivalent_tokens", "score"]}
    return {**_chart("All swept parameters", "PARALLEL"), **chosen, "showAllRuns": False}


def _id(text: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"prunegrid/{text}").hex
