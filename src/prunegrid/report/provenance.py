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


def _distinct(runs: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    return list(dict.fromkeys(str(run[key]) for run in runs if run.get(key) not in (None, "")))
