"""What only a method can judge of its parameters, asked while planning: once for each distinct reducer and model.

The planner stays light: methods answer in a process of their own (prunegrid.run.fit). What they found good is kept in
results/plan/cache/fits.json until parameters, model or code change.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prunegrid.grid.atomic import write_changed
from prunegrid.grid.cell import digest
from prunegrid.grid.code import code_hash, module_of
from prunegrid.grid.errors import GridError

FIT = "prunegrid.run.fit"
MODEL = ("path", "config", "tokens", "side", "vision_layers", "llm_layers")
NAMED = 3  # refused reducers that one error names


def check(
    root: Path, results: Path, rows: Sequence[Mapping[str, Any]], where: str, keep: bool = True
) -> None:
    """rows: of a plan. Raises GridError that names each refused reducer's cell and what its method says. `keep`:
    remember what was found good."""
    found: dict[str, tuple[Mapping[str, Any], dict[str, Any]]] = {}
    for row in rows:
        for question in _questions(row["cell"]):
            found.setdefault(digest(question, 16), (row, question))
    codes = {
        target: code_hash([FIT, module_of(target)])
        for target in {question["reducer"]["_target_"] for _, question in found.values()}
    }
    keyed = {f"{key} {codes[q['reducer']['_target_']]}": (row, q) for key, (row, q) in found.items()}
    file = results / "plan" / "cache" / "fits.json"
    new = {key: each for key, each in keyed.items() if key not in _good(file)}
    if not new:
        return
    said = dict(zip(new, ask(root, [question for _, question in new.values()]), strict=True))
    wrong = [f"{_who(*new[key])}: {text}" for key, text in said.items() if text]
    if wrong:
        more = f"; and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise GridError(f"{where}: {'; '.join(wrong[:NAMED])}{more}")
    if keep:
        write_changed(file, json.dumps(sorted(_good(file) | set(new)), indent=0))


def ask(root: Path, questions: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """For each question None, or what its method says against it."""
    run = subprocess.run(
        [sys.executable, "-m", FIT], input=json.dumps(questions), cwd=root, text=True, capture_output=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"},
    )  # fmt: skip
    if run.returncode:
        last = (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
        raise GridError(
            f"methods could not be asked about their parameters: `python -m {FIT}` failed: {last}"
        )
    answers: list[str | None] = json.loads(run.stdout.splitlines()[-1])
    return answers


def _questions(cell: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The cell's own reducer, and those that its tunings train with."""
    model, tuning = {key: cell["model"][key] for key in MODEL}, cell["tuning"]
    tuned = tuning["name"] != "none"
    yield {"reducer": _plain(cell["reducer"]), "tuned": tuned, "model": model}
    while tuning and tuning["name"] != "none":
        yield {"reducer": _plain(tuning["reducer"]), "tuned": True, "model": model}
        tuning = tuning["after"]


def _plain(reducer: Mapping[str, Any]) -> dict[str, Any]:
    """Which cell a budget is `like` makes no difference here."""
    return {k: {"like": ""} if isinstance(v, Mapping) else v for k, v in reducer.items()}


def _who(row: Mapping[str, Any], question: Mapping[str, Any]) -> str:
    return f"reducer {question['reducer']['name']!r} of {row['cell']['id']} on model {row['cell']['model']['name']!r}"


def _good(file: Path) -> set[str]:
    """A file that cannot be read costs a question, nothing else."""
    try:
        return set(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return set()
