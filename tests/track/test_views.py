import json
import re
from typing import Any

from prunegrid.report.results import load_study
from prunegrid.track.views import unpack, views
from report import synthetic

from .conftest import Tracked


def view(tracked: Tracked, name: str) -> dict[str, Any]:
    """A saved view as the store holds it."""
    made: dict[str, Any] = json.loads(tags(tracked)[f"mlflow.sharedViewState.{name}"])
    return made


def tags(tracked: Tracked) -> dict[str, str]:
    return dict(tracked.client.get_experiment_by_name("demo").tags)


def test_views_name_only_metrics_that_the_runs_have(tracked: Tracked) -> None:
    synthetic.write_study(tracked.root, rows={"topk_cls keep=36": ("topk_cls", 36, 1)})
    tracked.run("study")
    (run,) = tracked.runs("tags.row = 'topk_cls keep=36' and tags.task = 'mini_vqa'")
    made = views(load_study(tracked.root, "demo"))
    columns = [re.fullmatch(r"(metrics|params)\.`(.+)`", name) for name in made["table"]["selectedColumns"]]
    assert {name[2] for name in columns if name[1] == "metrics"} <= set(run.data.metrics)
    assert {name[2] for name in columns if name[1] == "params"} <= set(run.data.params)
    charts = [chart for chart in made["charts"]["compareRunCharts"] if "mini_vqa" in chart["displayName"]]
    assert len(charts) == 2
    for chart in charts:
        assert {chart["xaxis"]["key"], chart["yaxis"]["key"]} <= set(run.data.metrics)


def test_views_are_experiment_tags_in_the_interface_s_envelope(tracked: Tracked) -> None:
    synthetic.write_study(tracked.root, columns=["a"], rows={"none": ("none", 144, 1)})
    tracked.run("study")
    for name in ("table", "charts", "pictures"):
        made = view(tracked, name)
        assert made["name"] == name and isinstance(made["createdAt"], int)
        state = unpack(made["state"])
        assert state["searchFilter"].startswith("tags.kind = 'cell' and tags.current = 'true'")
        assert len(tracked.runs(state["searchFilter"])) == 1  # the filter is one that the store understands
    assert tags(tracked)["mlflow.experimentKind"] == "custom_model_development"


def test_the_description_links_views_and_report_and_holds_the_table(tracked: Tracked) -> None:
    synthetic.write_study(tracked.root, columns=["a"], rows={"none": ("none", 144, 1)})
    tracked.run("study")
    note = tags(tracked)["mlflow.note.content"]
    assert "viewStateShareKey=charts&compareRunsMode=CHART" in note and "| none |" in note
    experiment, run_id, file = re.search(
        r"#/experiments/(\d+)/runs/(\w+)/artifacts/(report/index.html)\?", note
    ).groups()
    (study,) = tracked.runs("tags.kind = 'study'")
    assert (experiment, run_id) == (study.info.experiment_id, study.info.run_id)
    assert file in tracked.artefacts(study, "report")


def test_pictures_are_asked_for_by_the_names_that_runs_give_them(tracked: Tracked) -> None:
    synthetic.write_study(tracked.root, columns=["a"], rows={"topk_cls keep=36": ("topk_cls", 36, 1)})
    tracked.run("study")
    (run,) = tracked.runs("tags.kind = 'cell'")
    known = {file.removeprefix("images/").split("+")[0] for file in tracked.artefacts(run, "images")}
    charts = unpack(view(tracked, "pictures")["state"])["compareRunCharts"]
    assert {chart["type"] for chart in charts} == {"IMAGE"}
    assert {key for chart in charts for key in chart["imageKeys"]} == known


def test_a_new_task_updates_the_view_and_keeps_its_birthday(tracked: Tracked) -> None:
    rows = {"none": ("none", 144, 1)}
    synthetic.write_study(tracked.root, columns=["a"], rows=rows)
    tracked.run("study")
    first = view(tracked, "charts")
    synthetic.write_study(tracked.root, columns=["a", "b"], rows=rows)
    tracked.run("study")
    second = view(tracked, "charts")
    assert second["createdAt"] == first["createdAt"] and second["state"] != first["state"]
    assert "score/b" in json.dumps(unpack(second["state"]))
