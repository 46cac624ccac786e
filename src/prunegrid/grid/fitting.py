"""What only a method can judge of its parameters, asked while planning: once for each distinct reducer and model, and
what only a training can judge of its settings: once for each.

The planner stays light: methods answer in a process of their own (prunegrid.run.fit), beside it. What they found good is
kept in results/plan/cache/fits.json until parameters, model or code change.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from prunegrid.grid.atomic import write_changed
from prunegrid.grid.builder import Builder
from prunegrid.grid.cell import digest
from prunegrid.grid.code import code_hash, module_of
from prunegrid.grid.errors import GridError
from prunegrid.grid.study import Study, points

FIT = "prunegrid.run.fit"
MODEL = ("path", "config", "tokens", "side", "vision_layers", "llm_layers")
ELSEWHERE = ("reducer", "after", "seed", "digest", "code")  # of a tuning: no settings of its own
NAMED = 3  # refused reducers that one error names

Cell = Mapping[str, Any]  # of a row of a plan
Question = Mapping[str, Any]
Answers = list[str | None]  # for each question None, or what its method says against it


def check(
    results: Path,
    rows: Sequence[Mapping[str, Any]],
    where: str,
    asking: Callable[[Sequence[Question]], Answers],
    keep: bool = True,
) -> None:
    """rows: of a plan. Raises GridError that names the cell of each refused reducer or tuning and what is said against
    it. asking: what `asked` gave. `keep`: remember what was found good."""
    new = _new(results, (row["cell"] for row in rows))
    if not new:
        return
    said = dict(zip(new, asking([question for _, question in new.values()]), strict=True))
    wrong = [f"{_who(*new[key])}: {text}" for key, text in said.items() if text]
    if wrong:
        more = f"; and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise GridError(f"{where}: {'; '.join(wrong[:NAMED])}{more}")
    if keep:
        file = _file(results)
        write_changed(file, json.dumps(sorted(_good(file) | set(new)), indent=0))


def ahead(study: Study, builder: Builder) -> list[Cell]:
    """A cell for each distinct model, reducer and tuning of a study, so that methods answer while it is expanded.
    Incomplete where something is wrong with the study: that is `expand`'s to say."""
    found: dict[str, list[Cell]] = {}
    try:
        for point in points(study, builder.choose):
            for reducer in (point.get("reducer", "none"), "none", "blind"):
                at = {**point, "reducer": reducer}
                key = repr([at.get(axis) for axis in ("model", "reducer", "tuning")])
                if key not in found:
                    found[key] = [made.to_dict() for made in builder.cell(at, study.file) if made]
    except GridError:
        pass
    return [cell for cells in found.values() for cell in cells]


@contextmanager
def asked(
    root: Path, results: Path, cells: Iterable[Cell]
) -> Iterator[Callable[[Sequence[Question]], Answers]]:
    """What asks methods. Those of `cells` that are new are asked at once, in the background; others when they turn up.
    Nobody waits for answers that nobody wants any more."""
    early = [question for _, question in _new(results, cells).values()]
    if not early:
        yield partial(ask, root)
        return
    with started(root, early) as answers:

        def both(questions: Sequence[Question]) -> Answers:
            known = dict(zip(map(_key, early), answers(), strict=True))
            late = [question for question in questions if _key(question) not in known]
            known |= dict(zip(map(_key, late), ask(root, late) if late else [], strict=True))
            return [known[_key(question)] for question in questions]

        yield both


def ask(root: Path, questions: Sequence[Question]) -> Answers:
    """Ask methods, and wait for what they say."""
    with started(root, questions) as answers:
        return answers()


@contextmanager
def started(root: Path, questions: Sequence[Question]) -> Iterator[Callable[[], Answers]]:
    """Methods at work on questions; what is given waits for them. They are stopped at the end, done or not."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as asked_for:  # a pipe would wait for a reader
        json.dump(questions, asked_for)
        asked_for.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-m", "prunegrid.warm", FIT], stdin=asked_for, cwd=root, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
    with process:
        try:
            yield partial(_answers, process)
        finally:
            process.kill()


def _answers(process: subprocess.Popen[str]) -> Answers:
    out, err = process.communicate()
    if process.returncode:
        last = (err.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise GridError(
            f"methods could not be asked about their parameters: `python -m {FIT}` failed: {last}"
        )
    answers: Answers = json.loads(out.splitlines()[-1])
    return answers


def _new(results: Path, cells: Iterable[Cell]) -> dict[str, tuple[Cell, Question]]:
    """Key in fits.json -> question that was not found good yet, and a cell that asks it."""
    found: dict[str, tuple[Cell, Question]] = {}
    for cell in cells:
        for question in _questions(cell):
            found.setdefault(_key(question), (cell, question))
    modules = {key: _modules(question) for key, (_, question) in found.items()}
    codes = {each: code_hash(each) for each in set(modules.values())}
    good = _good(_file(results))
    keyed = {f"{key} {codes[modules[key]]}": each for key, each in found.items()}
    return {key: each for key, each in keyed.items() if key not in good}


def _modules(question: Question) -> tuple[str, ...]:
    """Whose code answers."""
    return (FIT, module_of(question["reducer"]["_target_"])) if "reducer" in question else (FIT,)


def _key(question: Question) -> str:
    return digest(question, 16)


def _file(results: Path) -> Path:
    return results / "plan" / "cache" / "fits.json"


def _questions(cell: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The cell's own reducer, those that its tunings train with, and their settings."""
    model, tuning = {key: cell["model"][key] for key in MODEL}, cell["tuning"]
    tuned = tuning["name"] != "none"
    yield {"reducer": _plain(cell["reducer"]), "tuned": tuned, "model": model}
    while tuning and tuning["name"] != "none":
        yield {"reducer": _plain(tuning["reducer"]), "tuned": True, "model": model}
        yield {"tuning": {key: value for key, value in tuning.items() if key not in ELSEWHERE}}
        tuning = tuning["after"]


def _plain(reducer: Mapping[str, Any]) -> dict[str, Any]:
    """Which cell a budget is `like` makes no difference here."""
    return {k: {"like": ""} if isinstance(v, Mapping) else v for k, v in reducer.items()}


def _who(cell: Cell, question: Question) -> str:
    if "tuning" in question:
        return f"tuning {question['tuning']['name']!r} of {cell['id']}"
    return f"reducer {question['reducer']['name']!r} of {cell['id']} on model {cell['model']['name']!r}"


def _good(file: Path) -> set[str]:
    """A file that cannot be read costs a question, nothing else."""
    try:
        return set(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return set()
