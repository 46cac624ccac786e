"""The dashboard of a study: saved views, written as experiment tags.

The format is that of the user interface in MLflow 3.17 and undocumented: everything in a run (names, tags,
metrics, description) is usable without it, and a newer MLflow that does not know it just shows no saved view.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from prunegrid.report.results import Study
from prunegrid.report.summary import summarise
from prunegrid.report.tables import markdown
from prunegrid.track.entry import metric_name, tag_text

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_TAG = "mlflow.sharedViewState."
_RUN = "attributes.`Run Name`"
_COLUMNS = (
    "metrics.`score`", "metrics.`score_low`", "metrics.`score_high`",
    "metrics.`delta`", "metrics.`delta_low`", "metrics.`delta_high`", "metrics.`retention_over_blind`",
    "metrics.`tokens_mean`", "metrics.`equivalent_tokens`",
    "metrics.`flops/total`", "metrics.`relative_flops`",
)  # fmt: skip


def describe(client: MlflowClient, experiment: str, study: Study) -> None:
    """Write description and saved views of the study's experiment, where they differ from what is there."""
    tags = client.get_experiment(experiment).tags
    for name, state in views(study).items():
        _save_view(client, experiment, tags, name, state)
    links = [f"[{name}](#/experiments/{experiment}/runs?{_query(name)})" for name in views(study)]
    note = tag_text(f"Saved views: {', '.join(links)}\n\n{markdown(summarise(study))}")
    if tags.get("mlflow.note.content") != note:
        client.set_experiment_tag(experiment, "mlflow.note.content", note)


def _query(name: str) -> str:
    mode = "&compareRunsMode=CHART" if name == "fronts" else ""
    return f"viewStateShareKey={name}{mode}"


def views(study: Study) -> dict[str, dict[str, Any]]:
    """name -> state: a `table` of the current cells and their `fronts`, one scatter chart per task."""
    tasks = list(dict.fromkeys(cell.column for cell in study.cells))
    common = {
        "searchFilter": "tags.kind = 'cell' and tags.current = 'true'",
        "orderByKey": "metrics.`score`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(_COLUMNS),
        "columnOrder": [_RUN, *_COLUMNS],
        "columnWidths": {_RUN: 330, **dict.fromkeys(_COLUMNS, 105)},
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
        "groupBy": None,
    }
    charts, sections = _charts(tasks)
    fronts = {"compareRunCharts": charts, "compareRunSections": sections, "isAccordionReordered": True}
    return {"table": common, "fronts": {**common, **fronts}}


def _charts(tasks: Sequence[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Scatter charts of every task's score, over tokens in one section and over FLOPs in the other."""
    charts, sections = [], []
    for title, cost in (("Score over tokens", "equivalent_tokens"), ("Score over FLOPs", "relative_flops")):
        section = _id(title)
        sections.append(
            {"uuid": section, "name": title, "display": True, "isReordered": True, "deleted": False,
             "isGenerated": False}
        )  # fmt: skip
        for task in tasks:
            charts.append(
                {
                    "uuid": _id(f"{title} {task}"), "type": "SCATTER", "runsCountToCompare": 100,
                    "metricSectionId": section, "deleted": False, "isGenerated": False,
                    "displayName": f"{task}: score over {cost.replace('_', ' ')}",
                    "xaxis": {"key": cost, "type": "METRIC"},
                    "yaxis": {"key": metric_name(f"score/{task}"), "type": "METRIC"},
                }
            )  # fmt: skip
    return charts, sections


def _id(text: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"prunegrid/{text}").hex


def _save_view(
    client: MlflowClient, experiment: str, tags: dict[str, str], name: str, state: dict[str, Any]
) -> None:
    text = json.dumps(state, sort_keys=True)
    before = json.loads(tags.get(_TAG + name) or "{}")
    if before.get("state") == text:
        return
    now = int(time.time() * 1000)
    view = {"name": name, "createdAt": before.get("createdAt", now), "updatedAt": now, "state": text}
    client.set_experiment_tag(experiment, _TAG + name, json.dumps(view))
