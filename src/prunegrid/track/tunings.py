"""A finished tuning as a run: its settings, where it came from, and its curves, one point per step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prunegrid.report.cell import number, read_json, read_lines
from prunegrid.track.entry import Entry, digest, flatten, metric_name, milliseconds, shorten

CURVES = ("loss", "own_loss", "rate", "gradient", "samples_per_s", "visual")


def tuning_entry(root: Path, adapter: str) -> Entry | None:
    """The run of results/adapters/<adapter>; None while it is not finished."""
    home = root / "adapters" / adapter
    said = read_json(home / "provenance.json", missing_ok=True)
    if not said:
        return None
    rows = list(read_lines(home / "metrics.jsonl"))
    curves = {
        metric_name(f"tuning/{name}"): points
        for name in CURVES
        if (
            points := [
                (int(row["step"]), float(row[name])) for row in rows if number(row.get(name)) is not None
            ]
        )
    }
    last = {name: points[-1][1] for name, points in curves.items()}
    started = milliseconds(said.get("started"))
    return Entry(
        name=f"tuning {adapter}",
        identity=("adapter_id", adapter),
        result_hash=digest([said.get("code"), rows]),
        status="FINISHED",
        params=flatten({"model": said["model"], "tuning": said["tuning"]}),
        metrics={
            **last,
            "tuning/steps": float(said["steps"]),
            "tuning/parameters": float(said["parameters"]),
        },
        tags=_tags(said, home),
        datasets={str(path): str(md5) for path, md5 in said["data"].items()},
        started=started,
        ended=None if started is None else started + int(1000 * float(said["seconds"])),
        curves=curves,
    )


def _tags(said: Mapping[str, Any], home: Path) -> dict[str, str]:
    known = {
        "kind": "tuning",
        "model": said["model"]["name"],
        "mini": str(said["model"]["name"] == "mini").lower(),
        "reducer": said["tuning"]["reducer"]["name"],
        "tuning": said["tuning"]["name"],
        "seed": said["tuning"]["seed"],
        "data_digest": said["digest"],
        "code_version": said["code"],
        "hardware": said.get("hardware"),
        "mlflow.source.git.commit": said.get("git"),
        "folder": home,
    }
    return {name: shorten(str(value)) for name, value in known.items() if value not in (None, "")}


def tuning_files(root: Path, adapter: str, scratch: Path) -> Iterator[tuple[Path, str]]:
    """(file, artefact folder): all but the weights, which may be large and lie in the folder that a tag names."""
    for name in ("provenance.json", "faults.json", "metrics.jsonl"):
        yield root / "adapters" / adapter / name, "tuning"
