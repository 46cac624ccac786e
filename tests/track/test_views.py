import json
import re

from prunegrid.report.results import load_study
from prunegrid.track.views import views
from report import synthetic

from .conftest import Tracked


def test_views_name_only_metrics_that_the_runs_have(tracked: Tracked) -> None:
    synthetic.write_study(tracked.root, rows={"topk_cls keep=36": ("topk_cls", 36, 1)})
    tracked.run("study")
    (run,) = tracked.runs("tags.row = 'topk_cls keep=36' and tags.task = 'mini_vqa'")
    made = views(load_study(tracked.root, "demo"))
    columns = {re.fullmatch(r"metrics\.`(.+)`", name)[1] for name in made["table"]["selectedColumns"]}
    assert columns <= set(run.data.metrics)
    charts = [chart for chart in made["fronts"]["compareRunCharts"] if "mini_vqa" in chart["displayName"]]
    assert len(charts) == 2
    for chart in charts:
        assert {chart["xaxis"]["key"], chart["yaxis"]["key"]} <= set(run.data.metrics)


def test_every_chart_has_a_section_and_an_id_of_its_own(tracked: Tracked) -> None:
    synthetic.write_study(tracked.root, columns=["a", "b", "c"], samples=2)
    fronts = views(load_study(tracked.root, "demo"))["fronts"]
    sections = {section["uuid"] for section in fronts["compareRunSections"]}
    charts = fronts["compareRunCharts"]
    assert {chart["metricSectionId"] for chart in charts} == sections
    assert len({chart["uuid"] for chart in charts}) == len(charts) == 6


def test_views_are_experiment_tags_in_the_interface_s_envelope(tracked: Tracked) -> None:
    synthetic.write_study(tracked.root, columns=["a"], rows={"none": ("none", 144, 1)})
    tracked.run("study")
    tags = tracked.client.get_experiment_by_name("demo").tags
    for name in ("table", "fronts"):
        view = json.loads(tags[f"mlflow.sharedViewState.{name}"])
        assert view["name"] == name and isinstance(view["createdAt"], int)
        state = json.loads(view["state"])
        assert state["searchFilter"] == "tags.kind = 'cell' and tags.current = 'true'"
        assert len(tracked.runs(state["searchFilter"])) == 1  # the filter is one that the store understands
    assert "viewStateShareKey=fronts&compareRunsMode=CHART" in tags["mlflow.note.content"]


def test_a_new_task_updates_the_view_and_keeps_its_birthday(tracked: Tracked) -> None:
    rows = {"none": ("none", 144, 1)}
    synthetic.write_study(tracked.root, columns=["a"], rows=rows)
    tracked.run("study")
    first = json.loads(tracked.client.get_experiment_by_name("demo").tags["mlflow.sharedViewState.fronts"])
    synthetic.write_study(tracked.root, columns=["a", "b"], rows=rows)
    tracked.run("study")
    second = json.loads(tracked.client.get_experiment_by_name("demo").tags["mlflow.sharedViewState.fronts"])
    assert second["createdAt"] == first["createdAt"] and second["state"] != first["state"]
    assert "score/b" in second["state"]
