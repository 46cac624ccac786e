"""Where a study's numbers come from: every value that its predictions do not share is listed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prunegrid.report.results import Study


def provenance(study: Study) -> dict[str, list[str]]:
    """label -> distinct values over the finished cells, in order of appearance."""
    runs = list(
        {cell.prediction: cell.provenance for cell in study.everything if cell.state == "done"}.values()
    )
    data = [f"{path} {md5}" for run in runs for path, md5 in (run.get("data") or {}).items()]
    versions = [f"{name} {version}" for run in runs for name, version in (run.get("versions") or {}).items()]
    seconds = sum(float(run.get("seconds") or 0) for run in runs)
    samples = sum(int(run.get("samples") or 0) for run in runs)
    found = {
        "model": list(study.models),
        "model revision": _distinct(runs, "model_revision"),
        "data (md5)": list(dict.fromkeys(data)),
        "code": _distinct(runs, "code"),
        "git": _distinct(runs, "git"),
        "hardware": _distinct(runs, "hardware"),
        "dtype": _distinct(runs, "dtype"),
        "batch size": _distinct(runs, "batch_size"),
        "versions": list(dict.fromkeys(versions)),
        "predictions": [f"{len(runs)} runs, {samples} samples, {seconds / 60:.1f} min"] if runs else [],
        "cells": [study.progress],
    }
    return {label: values for label, values in found.items() if values}


# what may move a number although no cell's configuration differs, or although it should not differ in one table
MIXABLE = {"hardware": "GPUs", "dtype": "dtypes", "batch_size": "batch sizes"}


def mixed(study: Study) -> list[str]:
    """A warning for each of hardware, dtype and batch size of which the table's predictions have several."""
    runs = {cell.prediction: cell.provenance for cell in study.everything if cell.state == "done"}
    found = []
    for key, name in MIXABLE.items():
        values = _distinct(runs.values(), key)
        if len(values) > 1:
            found.append(
                f"Warning: this table mixes {name} ({', '.join(sorted(values))}); a few answers may differ for that"
                " reason alone, so compare rows only within one of them."
            )
    return found


def _distinct(runs: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    return list(dict.fromkeys(str(run[key]) for run in runs if run.get(key) not in (None, "")))
