"""The dashboard of a study: its description and its saved views, written as experiment tags.

The format is that of the user interface in MLflow 3.17 and undocumented: everything in a run (names, tags,
metrics, pictures, description) is usable without it, and a newer MLflow that does not know it just shows no saved view.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from typing import TYPE_CHECKING, Any

from prunegrid.report.results import Study
from prunegrid.report.summary import summarise
from prunegrid.report.tables import markdown
from prunegrid.track.charts import axes, charts, pictures
from prunegrid.track.entry import INTERFACE, run_link, tag_text
from prunegrid.track.pictures import COUNTS, KEPT

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_TAG = "mlflow.sharedViewState."
_CELLS = "tags.kind = 'cell' and tags.current = 'true'"
_PACKED = "deflate;"
_LONGEST = 19000  # an experiment's tag takes 20000
_RUN = "attributes.`Run Name`"
_TASK = "params.`task.name`"
_COLUMNS = (
    "metrics.`score`", "metrics.`score_low`", "metrics.`score_high`",
    "metrics.`delta`", "metrics.`delta_low`", "metrics.`delta_high`", "metrics.`retention_over_blind`",
    "metrics.`tokens_mean`", "metrics.`equivalent_tokens`",
    "metrics.`flops/total`", "metrics.`relative_flops`",
)  # fmt: skip


def describe(client: MlflowClient, experiment: str, study: Study, run_id: str) -> None:
    """Write description and saved views of the study's experiment, where they differ from what is there.

    `run_id`: the study's own run, whose report the description links.
    """
    tags = client.get_experiment(experiment).tags
    made = views(study)
    for name, state in made.items():
        _save_view(client, experiment, tags, name, state)
    links = [f"[{name}](#/experiments/{experiment}/runs?{_query(name)})" for name in made]
    links.append(f"[report]({run_link(experiment, run_id, 'artifacts/report/index.html')})")
    note(client, experiment, f"Views: {', '.join(links)}\n\n{markdown(summarise(study))}")


def note(client: MlflowClient, experiment: str, text: str) -> None:
    """Describe an experiment, Markdown, unless it says so already."""
    said, text = client.get_experiment(experiment).tags, tag_text(text, _LONGEST)
    if said.get("mlflow.note.content") != text:
        client.set_experiment_tag(experiment, "mlflow.note.content", text)


def _query(name: str) -> str:
    return f"{INTERFACE}&viewStateShareKey={name}{'' if name == 'table' else '&compareRunsMode=CHART'}"


def views(study: Study) -> dict[str, dict[str, Any]]:
    """name -> state: a `table` of the current cells, their `charts`, and their `pictures` side by side."""
    several = len({cell.column for cell in study.cells}) > 1
    swept = [f"params.`{axis.key}`" for axis in axes(study) if axis.type == "PARAM"]
    columns = [*([_TASK] if several else []), *swept, *_COLUMNS]
    common = {
        "searchFilter": _CELLS,
        # scores of different tasks in one order say nothing
        "orderByKey": _TASK if several else "metrics.`score`",
        "orderByAsc": several,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": [_RUN, *columns],
        "columnWidths": {_RUN: 330, **dict.fromkeys(columns, 105)},
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
        "groupBy": None,
    }
    return {
        "table": common,
        "charts": {**common, **charts(study)},
        "pictures": {**common, **_pictures(study)},
    }


def _pictures(study: Study) -> dict[str, Any]:
    """The first task's: only runs of one task show the same samples. The filter names the task, for another one."""
    task = next((cell.column for cell in study.cells if cell.state == "done"), "")
    shown = pictures("Kept tokens", (*KEPT, COUNTS))
    return {"searchFilter": f"{_CELLS} and tags.task = '{task}'", **shown}


def pack(state: dict[str, Any]) -> str:
    """A view's state as the interface itself writes it: a study of many tasks would not fit into a tag otherwise."""
    return _PACKED + base64.b64encode(zlib.compress(json.dumps(state, sort_keys=True).encode(), 9)).decode()


def unpack(text: str) -> Any:
    """The state that `pack` packed."""
    return json.loads(zlib.decompress(base64.b64decode(text.removeprefix(_PACKED))))


def _save_view(
    client: MlflowClient, experiment: str, tags: dict[str, str], name: str, state: dict[str, Any]
) -> None:
    before = json.loads(tags.get(_TAG + name) or "{}")
    if before and unpack(before["state"]) == state:
        return
    now = int(time.time() * 1000)
    view = {"name": name, "createdAt": before.get("createdAt", now), "updatedAt": now, "state": pack(state)}
    client.set_experiment_tag(experiment, _TAG + name, json.dumps(view))
