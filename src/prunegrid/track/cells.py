"""A cell as a run: parameters, numbers with their intervals, where everything came from, and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prunegrid.report.cell import Cell, Estimate, estimate, is_mini, number
from prunegrid.report.histogram import cell_histogram
from prunegrid.report.kept_table import of_cell
from prunegrid.report.overlay import gallery, panel, samples_with_pictures
from prunegrid.report.results import Study
from prunegrid.report.style import save
from prunegrid.track.entry import (
    Entry,
    digest,
    flatten,
    latency_name,
    metric_name,
    milliseconds,
    shorten,
    tag_text,
)
from prunegrid.track.pictures import COUNTS, KEPT, TAG, as_pictures


def cell_entry(study: Study, cell: Cell, colour: str, tunings: Mapping[str, str]) -> Entry:
    """The run of a finished or failed cell. `colour` is its method's, `tunings` links the runs of its adapters."""
    provenance = cell.provenance
    data = {str(path): str(md5) for path, md5 in (provenance.get("data") or {}).items()}
    started = milliseconds(provenance.get("started"))
    seconds = number(provenance.get("seconds"))
    timed = started is not None and seconds is not None  # else the run would last until it was tracked
    failure = cell.failure
    tags = {**_tags(study, cell), **_origin(provenance, data), "mlflow.runColor": colour}
    if failure is None:
        tags |= dict([TAG])
    else:
        tags |= {"failure": shorten(str(failure.get("reason"))), "failed_stage": str(failure.get("stage"))}
    return Entry(
        name=f"{cell.row} · {cell.column}" + (f" · seed {cell.seed}" if cell.seed else ""),
        identity=("cell_id", cell.id),
        result_hash=digest(failure) if failure is not None else str(cell.score["result_hash"]),
        status="FINISHED" if failure is None else "FAILED",
        params=flatten(cell.config),
        metrics={} if failure is not None else cell_metrics(cell),
        tags={**tags, "mlflow.note.content": tag_text(_note(study, cell, tunings))},
        datasets=data,
        started=started if timed else None,
        ended=int((started or 0) + 1000 * (seconds or 0)) if timed else None,
    )


def cell_metrics(cell: Cell) -> dict[str, float]:
    """Every finite number of a finished cell, as the scorer wrote it (fractions, not percent).

    `score` is the task's headline metric, `score/<task>` the same for charts of one task, `task/<m>` each
    metric, `strict/<m>` under strict judging; `kept/<part>/<name>` is what kept.json says of the tokens; intervals are
    `<name>_low` and `<name>_high`.
    """
    score, primary, intervals = cell.score, str(cell.score["primary"]), cell.score.get("interval") or {}
    found: dict[str, Any] = {}
    for name, value in score["metrics"].items():
        known = estimate({"value": value, "interval": intervals.get(name)}, "value")
        found |= _three(f"task/{name}", known)
        if name == primary:
            found |= {**_three("score", known), **_three(f"score/{cell.column}", known)}
    found |= {f"strict/{name}": value for name, value in (score.get("strict") or {}).items()}
    found |= {"questions": score.get("n"), "clusters": score.get("clusters")}
    baseline, blind = cell.beside("baseline"), cell.beside("blind")
    found |= _three("delta", estimate(baseline, "delta"))
    found |= _three("retention", estimate(baseline, "retention", "retention_interval"))
    found |= _three("retention_over_blind", estimate(blind, "retention_over_floor"))
    for name, known in of_cell(cell).items():
        found |= _three(f"kept/{name}", known)
    cost = cell.cost
    found |= {f"tokens_{key}": value for key, value in (cost.get("tokens") or {}).items()}
    found |= {
        key: cost.get(key) for key in ("equivalent_tokens", "relative_flops", "kv_bytes", "relative_kv")
    }
    found |= {f"flops/{part}": value for part, value in (cost.get("flops") or {}).items()}
    for point in cell.latency.get("points") or []:
        times = {phase: 1000 * v["median"] for phase, v in point["seconds"].items() if _timed(v)}
        found |= {f"{latency_name(point)}/{phase}": value for phase, value in times.items()}
    found["seconds"] = cell.provenance.get("seconds")
    return {metric_name(name): x for name, value in found.items() if (x := number(value)) is not None}


def _timed(value: Any) -> bool:
    return isinstance(value, Mapping) and "median" in value


def _three(name: str, x: Estimate | None) -> dict[str, float | None]:
    return {} if x is None else {name: x.value, f"{name}_low": x.low, f"{name}_high": x.high}


def _tags(study: Study, cell: Cell) -> dict[str, str]:
    return {
        "kind": "cell",
        "study": study.name,
        "row": cell.row,
        "task": cell.column,
        "model": cell.model,
        "mini": str(is_mini(cell.model)).lower(),
        "reducer": cell.reducer,
        "seed": str(cell.seed),
        "support": str(cell.support).lower(),
        "prediction_id": cell.prediction.name,
        "tuning": str((cell.planned.get("tuning") or {}).get("name", "none")),
        "adapter_id": str(cell.planned.get("adapter") or "none"),
        "cell_folder": str(cell.folder.resolve()),
        "prediction_folder": str(cell.prediction.resolve()),
    }


def _origin(provenance: Mapping[str, Any], data: Mapping[str, str]) -> dict[str, str]:
    """Where the numbers came from; nothing is written for what is not known."""
    known = {
        "data_digest": digest(data) if len(data) > 1 else next(iter(data.values()), None),
        "code_version": provenance.get("code"),
        "model_revision": provenance.get("model_revision"),
        "hardware": provenance.get("hardware"),
        "mlflow.source.git.commit": provenance.get("git"),
    }
    return {name: str(value) for name, value in known.items() if value not in (None, "")}


def _note(study: Study, cell: Cell, tunings: Mapping[str, str]) -> str:
    """The run's description, Markdown."""
    lines = [f"**{cell.row}** on **{cell.column}**, model {cell.model}, study {study.name}", ""]
    if (failure := cell.failure) is not None:
        lines += [f"Failed in {failure.get('stage')}: {failure.get('reason')}", ""]
        lines += [f"Run it again: `{failure.get('rerun')}`", "", f"Log: `{failure.get('log')}`", ""]
        lines += ["```", *map(str, failure.get("log_tail") or []), "```", ""]
    if is_mini(cell.model):
        lines += ["Numbers of the small `mini` model; not comparable with published ones.", ""]
    for adapter, link in tunings.items():
        lines += [f"Tuned: [{adapter}]({link})", ""]
    folders = f"Cell folder: `{cell.folder.resolve()}`, answers: `{cell.prediction.resolve()}`"
    return "\n".join([*lines, f"{folders}; copies of their files are artefacts."])


def cell_files(cell: Cell, scratch: Path) -> Iterator[tuple[Path, str]]:
    """(file, artefact folder) of a cell: what was computed, and pictures of it."""
    for name in (
        "cell.yaml",
        "score.json",
        "cost.json",
        "kept.json",
        "paired.json",
        "latency.json",
        "failed.json",
    ):
        if (file := cell.folder / name).exists():
            yield file, "cell"
    for name in ("records.jsonl", "trace.jsonl", "provenance.json", "failed.json"):
        if (file := cell.prediction / name).exists():
            yield file, "predictions"
    if (failure := cell.failure) is not None:
        tail = scratch / "log_tail.txt"
        tail.write_text("\n".join(map(str, failure.get("log_tail") or [])) + "\n", encoding="utf-8")
        yield tail, ""
        return
    yield from as_pictures(save(cell_histogram(cell), scratch / "counts", vector=False)[0], COUNTS)
    for key, sample in zip(KEPT, samples_with_pictures(cell, len(KEPT)), strict=False):
        if drawn := panel(cell, sample, f"{cell.row}, sample {sample}"):
            yield from as_pictures(save(gallery([drawn]), scratch / "kept", vector=False)[0], key)
