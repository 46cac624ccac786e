"""What the notebooks share: find the results, or say which command makes them; show a figure."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path

from matplotlib.figure import Figure

from prunegrid.report.cell import ResultError
from prunegrid.report.results import load_study
from prunegrid.report.style import plt
from prunegrid.report.summary import Summary, summarise


def find_root(start: Path | None = None) -> Path:
    """The repository that `start` (default: the working folder) lies in."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").exists() and (folder / "conf").is_dir():
            return folder
    raise ResultError(f"{here} lies in no PruneGrid repository: start the notebook inside one")


def open_study(name: str, results: Path | None = None) -> Summary:
    """The study's summary; ResultError with the command to run if nothing of it is finished."""
    command = f"snakemake --profile workflow/profiles/local --config study={name}"
    root = results or find_root() / "results"
    if not (root / "plan" / f"{name}.json").exists():
        raise ResultError(f"study {name!r} has no results in {root}: run `{command}`")
    summary = summarise(load_study(root, name))
    if not summary.study.count("done"):
        raise ResultError(f"study {name!r} has no finished cell in {root}: run `{command}`")
    return summary


class Picture:
    """A figure as a notebook shows it, whatever the backend."""

    def __init__(self, figure: Figure) -> None:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", facecolor="white")
        plt.close(figure)
        self._png = buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self._png


class Pictures:
    """Figures one below the other; nothing where there are none."""

    def __init__(self, figures: Iterable[Figure]) -> None:
        self._pictures = [Picture(figure)._repr_png_() for figure in figures]

    def __len__(self) -> int:
        return len(self._pictures)

    def _repr_html_(self) -> str:
        texts = (base64.b64encode(png).decode("ascii") for png in self._pictures)
        return "".join(f'<p><img src="data:image/png;base64,{text}"></p>' for text in texts)
