"""Figures as the pictures that MLflow's charts show side by side: `images/`, in the naming of `log_image`.

`log_image` itself would name each picture by time and chance, and a run that is brought up to date would hold it
twice.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from prunegrid.report.thumbnail import thumbnail

FOLDER = "images"
KEPT = ("kept_tokens_1", "kept_tokens_2", "kept_tokens_3")  # the same samples in every run of a task
COUNTS = "token_counts"
TAG = ("mlflow.loggedImages", "True")  # without it the user interface does not look for pictures


def as_pictures(figure: Path, key: str) -> Iterator[tuple[Path, str]]:
    """(file, artefact folder) of a figure: in full, and small for the charts. Written beside `figure`."""
    name = f"{key}+step+0+timestamp+0+{uuid.uuid5(uuid.NAMESPACE_URL, f'prunegrid/{key}')}"
    full = figure.with_name(f"{name}.png")
    shutil.move(figure, full)
    yield full, FOLDER
    yield thumbnail(full, full.with_name(f"{name}+compressed.webp")), FOLDER
