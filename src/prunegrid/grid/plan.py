"""conf/ -> plan: every cell of a study resolved once, written to results/cells/<id>/cell.yaml, cached by content."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from prunegrid.grid import adhoc, cell_file, fitting, index, plain, tuning, twin
from prunegrid.grid.atomic import write_changed
from prunegrid.grid.builder import Builder
from prunegrid.grid.cell import Cell, digest
from prunegrid.grid.codes import Codes
from prunegrid.grid.data import outs
from prunegrid.grid.errors import GridError
from prunegrid.grid.expand import Entry, expand
from prunegrid.grid.options import Options
from prunegrid.grid.study import Study

ABSENT = "absent"  # in place of the md5 of data that were not added yet
SOURCE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Plan:
    """A study's cells as plain rows (the content of results/plan/<study>.json)."""

    study: str
    title: str
    rows: list[dict[str, Any]]
    latency: dict[str, Any] | None = None  # what to measure, if anything
    cost_table: str | None = None
    unsupported: str | None = None  # why nothing of it can run
    absent: tuple[str, ...] = ()  # data to add before it can run; of a draft alone

    @classmethod
    def read(cls, file: Path) -> Plan:
        """Of results/plan/<study>.json."""
        return cls.of(json.loads(file.read_text(encoding="utf-8")))

    @classmethod
    def of(cls, made: Mapping[str, Any]) -> Plan:
        return cls(made["study"], made["title"], made["cells"], made["latency"], made.get("cost_table"))

    def by_id(self) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in self.rows}


def make(
    root: Path, results: Path, name: str, choose: Mapping[str, Any] | None = None, dry: bool = False
) -> Plan:
    """Plan study `name` of root/conf. Unchanged inputs are answered from results/plan/cache. `dry`: write only there."""
    cached, made = _cached(root, results, name, dict(choose or {}))
    if made is None:
        made = _judged(root, results, study_of(root, results, name), dict(choose or {}))
        write_changed(cached, json.dumps(made))
    return Plan.of(_with_pasts(results, made) if dry else publish(results, made))


def look(root: Path, results: Path, name: str, choose: Mapping[str, Any] | None = None) -> Plan:
    """As `make`, but nothing is written: for listings. Methods are not asked about their parameters."""
    _, made = _cached(root, results, name, dict(choose or {}))
    return Plan.of(_with_pasts(results, made or _planned(root, study_of(root, results, name), choose or {})))


def look_at(root: Path, results: Path, study: Study, keep: bool = False) -> Plan:
    """As `look`, of a study that stands in no file; its methods are asked. `keep`: remember what they said."""
    return Plan.of(_with_pasts(results, _judged(root, results, study, {}, keep)))


def _cached(
    root: Path, results: Path, name: str, choose: Mapping[str, Any]
) -> tuple[Path, dict[str, Any] | None]:
    """Where the plan of these inputs is kept, and the plan if it is."""
    key = digest({"inputs": _inputs(root, results), "study": name, "choose": choose}, 16)
    cached = results / "plan" / "cache" / f"{key}.json"
    return cached, json.loads(cached.read_text(encoding="utf-8")) if cached.exists() else None


def _judged(
    root: Path, results: Path, study: Study, choose: Mapping[str, Any], keep: bool = True
) -> dict[str, Any]:
    """As `_planned`; methods judge their parameters meanwhile."""
    builder = _builder(root, study, choose)
    with fitting.asked(root, results, fitting.ahead(study, builder)) as asking:
        made = _made(root, study, builder)
        fitting.check(results, made["cells"], study.file, asking, keep)
    return made


def _planned(root: Path, study: Study, choose: Mapping[str, Any]) -> dict[str, Any]:
    return _made(root, study, _builder(root, study, choose))


def _made(root: Path, study: Study, builder: Builder) -> dict[str, Any]:
    return {**_document(study, expand(study, builder), root, builder.outs), "choose": dict(builder.choose)}


def _builder(root: Path, study: Study, choose: Mapping[str, Any]) -> Builder:
    if study.unsupported:
        raise GridError(f"{study.file}: unsupported: {study.unsupported}")
    return Builder(Options.of(root / "conf"), outs(root), choose)


def draft(root: Path, results: Path, name: str, choose: Mapping[str, Any] | None = None) -> Plan:
    """As `make`, also before data and models are there, and for a study that cannot run. Nothing is written.

    Ids of cells whose data are `absent` are not those that they will have.
    """
    study = study_of(root, results, name)
    if study.unsupported:
        return Plan(name, study.title, [], unsupported=study.unsupported)
    options = Options.of(root / "conf")
    builder = Builder(options, {**_absent(options), **outs(root)}, dict(choose or {}))
    made = _document(study, expand(study, builder), root, builder.outs)
    read = {
        path
        for row in made["cells"]
        for part in (row["cell"], *row["adapters"])
        for path in part["data"].items()
    }
    absent = sorted(path for path, md5 in read if md5 == ABSENT)
    return replace(Plan.of(made), absent=tuple(absent))


def study_of(root: Path, results: Path, name: str) -> Study:
    """A file of conf/study, the twin of one, or the cells given by hand."""
    return adhoc.load(results) if name == adhoc.NAME else twin.load(root / "conf", name)


def _absent(options: Options) -> dict[str, str]:
    """Everything that conf/ may read, as if it lay in data.dvc."""
    read = [
        plain.read(f, f"conf/{g}/{f.name}")
        for g in ("task", "tuning")
        for f in sorted((options.conf / g).glob("*.yaml"))
    ]
    return {option["data"]: ABSENT for option in read if option.get("data")}


def publish(results: Path, made: Mapping[str, Any]) -> dict[str, Any]:
    """Write the plan, with the past of its rows, its index, and each cell.yaml, where they differ from what is there."""
    made = _with_pasts(results, made)
    text, places = index.document(made)
    write_changed(_file(results, made), text)
    write_changed(index.file(results, made["study"]), index.text(made, places))
    parts: dict[str, str] = {}
    for row in made["cells"]:
        write_changed(results / "cells" / row["id"] / "cell.yaml", cell_file.text(row["cell"], parts))
    return made


def _file(results: Path, made: Mapping[str, Any]) -> Path:
    return results / "plan" / f"{made['study']}.json"


def _with_pasts(results: Path, made: Mapping[str, Any]) -> dict[str, Any]:
    """The plan with what stood in the places of its rows when it was written last."""
    file = _file(results, made)
    before = json.loads(file.read_text(encoding="utf-8"))["cells"] if file.exists() else []
    today = {row["id"] for row in made["cells"]}
    stood: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in before:
        stood.setdefault(_place(row), []).append(row)
    return {**made, "cells": [_with_past(row, stood.get(_place(row), ()), today) for row in made["cells"]]}


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (row["model"], row["row"], row["column"], row["seed"], row["cell"]["limit"])


def _with_past(
    row: dict[str, Any], there: Sequence[Mapping[str, Any]], today: Collection[str]
) -> dict[str, Any]:
    """`was`: the id that stood in this place of the table (`there`) before its configuration or data changed."""
    own = [b.get("was") for b in there if b["id"] == row["id"]]
    gone = [b["id"] for b in there if b["id"] not in today]
    was = next(filter(None, [*own, *gone]), None)
    return {**row, "was": was} if was else row


def _document(study: Study, entries: Iterable[Entry], root: Path, known: Mapping[str, str]) -> dict[str, Any]:
    codes = Codes(root)
    return {
        "study": study.name,
        "title": study.title,
        "source": study.source,
        "layout": dict(study.layout),
        "published": dict(study.published),
        "latency": study.latency,
        "cost_table": study.cost_table,
        "cells": [_row(entry, codes, known) for entry in entries],
    }


def _row(entry: Entry, codes: Codes, known: Mapping[str, str]) -> dict[str, Any]:
    cell = entry.cell
    return {
        "id": cell.id(),
        "prediction": cell.prediction_id(),
        "adapter": cell.adapter_id(),
        "adapters": tuning.rows(cell, known),
        "row": entry.row,
        "column": entry.column,
        "seed": cell.seed,
        "support": entry.support,
        "baseline": entry.baseline,
        "blind": entry.blind,
        "like": entry.like,
        "published": entry.published,
        "paper": entry.paper,
        "model": cell.model["name"],
        "reducer": dict(cell.reducer),
        "task": dict(cell.task),
        "tuning": dict(cell.tuning),
        "code": codes.prediction(cell),
        "scorer": codes.score(cell),
        "costing": codes.cost(),
        "cell": _shared(cell),
    }


def _shared(cell: Cell) -> dict[str, Any]:
    """As `cell.to_dict()`, without copies: thousands of cells hold the same options."""
    own = {"id": cell.id(), "prediction": cell.prediction_id(), "adapter": cell.adapter_id()}
    return own | {field.name: getattr(cell, field.name) for field in fields(cell)}


def _inputs(root: Path, results: Path) -> str:
    """Digest of everything a plan is made from: configuration, data.dvc, the package's sources."""
    configured = [*sorted((root / "conf").rglob("*.yaml")), adhoc.file(results)]
    files = [*configured, root / "data.dvc", *sorted(SOURCE.rglob("*.py"))]
    return digest([[str(f.name), f.read_text(encoding="utf-8")] for f in files if f.exists()], 16)
