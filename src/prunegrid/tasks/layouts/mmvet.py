"""MM-Vet: grades of the benchmark's evaluator, or answers that are still to be judged.

Sources: <model>_gpt-4-grade-<n>runs.json of the evaluator; mm-vet.json of the benchmark; the answers that
scripts/convert_mmvet_for_eval.py of LLaVA at c121f043 writes ("v1_0" for question 0).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prunegrid.tasks.base import Record
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.judged import attach
from prunegrid.tasks.layouts.answered import Answered, join
from prunegrid.tasks.layouts.files import field, mapping, once, read_json, text_of, texts
from prunegrid.tasks.mmvet import MmVet

TASK = MmVet(file="mmvet.jsonl", prompt="{question}")


def read(answers: Sequence[Path], annotations: Sequence[Path]) -> Answered:
    """Answers: grade files, or one file of answers to judge. Annotations: mm-vet.json (needed to judge, and for
    the scores by capability)."""
    questions = {}
    for path in annotations:
        for name, row in mapping(read_json(path), str(path)).items():
            questions[name] = _question(name, mapping(row, f"{path} {name}"))
    grades = [grade for path in answers if (grade := _grades(path)) is not None]
    if not grades:
        if not questions:
            raise TaskError("answers without grades: pass mm-vet.json to judge them")
        return join(TASK, questions.values(), once((p for f in answers for p in _said(f).items()), "answers"))
    if len(grades) != len(answers):
        raise TaskError("grade files and answer files are mixed; pass the grades alone")
    runs = [{name: row[k] for name, row in grade.items()} for grade in grades for k in range(_runs(grade))]
    names = dict.fromkeys(name for run in runs for name in run)
    asked = questions or {name: Record(name, name, "", "", {"capability": []}) for name in names}
    missing = [name for name in asked if not all(name in run for run in runs)]
    records = attach([r for r in asked.values() if r.id not in set(missing)], runs)
    notes = [f"{len(runs)} run{'s' * (len(runs) > 1)} of the judge"]
    if not questions:
        notes.append("no mm-vet.json: no scores by capability")
    return Answered(
        replace(TASK, runs=len(runs)), records, missing, [n for n in names if n not in asked], notes
    )


def _grades(path: Path) -> dict[str, list[float]] | None:
    """id -> one score per run; None where the file holds answers."""
    whole = read_json(path) if path.suffix == ".json" else None
    if not isinstance(whole, dict) or not whole or not isinstance(next(iter(whole.values())), dict):
        return None
    found = {}
    for name, row in whole.items():
        scores = field(mapping(row, f"{path} {name}"), ("score",), f"{path} {name}")
        scores = scores if isinstance(scores, list) else [scores]
        if not all(isinstance(s, int | float) and not isinstance(s, bool) for s in scores):
            raise TaskError(f"{path} {name}: score {scores!r} must be numbers")
        found[str(name)] = [float(s) for s in scores]
    return found


def _runs(grade: Mapping[str, Sequence[float]]) -> int:
    counts = {len(scores) for scores in grade.values()}
    if len(counts) != 1 or 0 in counts:
        raise TaskError(f"grades have {sorted(counts)} runs; each question needs as many")
    return counts.pop()


def _said(path: Path) -> dict[str, str]:
    whole = read_json(path) if path.suffix == ".json" else None
    if isinstance(whole, dict):
        return {
            str(name): text_of({"text": text}, ("text",), f"{path} {name}") for name, text in whole.items()
        }
    return {n if n.startswith("v1_") else f"v1_{n}": text for n, text in texts(path).items()}


def _question(name: str, row: Mapping[str, Any]) -> Record:
    capability, answer = field(row, ("capability",), name), text_of(row, ("answer",), name)
    told = {"capability": list(capability), "asked": str(row.get("question", ""))}
    TASK.check({"capability": told["capability"]}, name)
    return Record(name, str(row.get("imagename", name)), "", answer, told)
