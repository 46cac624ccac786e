"""`prunegrid doctor CELL`: where does a wrong score come from? Gate by gate, the first that differs is the place.

Every gate is held against an independent way to the same value (LLaVA's tokenisation and pixels, the untouched model,
the stored records, published scores), and against a file of gates from elsewhere where one is given.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prunegrid.grid.cell import Cell
from prunegrid.run import build, gates
from prunegrid.run.arguments import whole
from prunegrid.run.files import Files, ResultError, read_cell, read_json, read_jsonl, write_json
from prunegrid.run.named import cell_file
from prunegrid.tasks import Sample, limit_clusters


@dataclass
class Finding:
    """A gate over all questions looked at: what was wrong, and whether anything was there to compare with."""

    gate: str
    wrong: list[str] = field(default_factory=list)
    checked: int = 0

    @property
    def line(self) -> str:
        if not self.checked:
            return f"  ?     {self.gate}: nothing to compare with"
        if not self.wrong:
            return f"  ok    {self.gate}"
        more = f" (and {len(self.wrong) - 1} more)" if len(self.wrong) > 1 else ""
        return f"  WRONG {self.gate}: {self.wrong[0]}{more}"


def add(commands: Any) -> None:
    """Add the command to the parser."""
    text = "walk a cell's gates, from prompt ids to score, and say which one differs"
    command = commands.add_parser("doctor", help=text, description=text)
    command.add_argument("cell", help="a cell id, the beginning of one, or the path of a cell.yaml")
    command.add_argument("--samples", type=whole, default=3, help="questions to look at (default: 3)")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    command.add_argument("--write", type=Path, help="write the gates' values, to be compared with elsewhere")
    command.add_argument("--against", type=Path, help="a file that --write wrote, here or elsewhere")
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    cell = read_cell(cell_file(arguments.results, arguments.cell))
    looked, findings = examine(
        cell, arguments.results, arguments.root, arguments.samples, arguments.device, arguments.against
    )
    if arguments.write:
        write_json(arguments.write, looked)
    print(f"{cell.id()}, {len(looked)} questions")
    print("\n".join(f.line for f in findings))
    first = next((f.gate for f in findings if f.wrong), None)
    print(f"the first gate that differs: {first}" if first else "no gate differs")
    return 1 if first else 0


def examine(
    cell: Cell, results: Path, root: Path, count: int, device: str = "auto", against: Path | None = None
) -> tuple[dict[str, Any], list[Finding]]:
    """(question id -> gate -> value, findings in the order of the gates)."""
    from prunegrid.run import tuned
    from prunegrid.run.predict import Answerer, budget

    task = build.task(cell)
    samples = limit_clusters(task.samples(root / cell.task["data"]), cell.limit)[:count]
    elsewhere = _gates_of(against) if against else {}
    answerer = Answerer(cell, root, budget(cell, results), device, tuned.files(cell, results))
    bench = gates.Bench(answerer)
    found = {gate: Finding(gate) for gate in gates.GATES}
    looked: dict[str, Any] = {}
    for sample in samples:
        looked[sample.id] = {}
        for gate, made in bench.look(sample).items():
            looked[sample.id][gate] = made["value"]
            found[gate].checked += 1
            found[gate].wrong += [f"question {sample.id}: {w}" for w in made["wrong"]]
    _texts(cell, results, samples, answerer, looked, found["text"])
    for name, gate, value in ((n, g, v) for n, gs in elsewhere.items() if n in looked for g, v in gs.items()):
        found[gate].checked += 1
        said = gates.differing(gate, looked[name][gate], value, cell.model["dtype"])
        found[gate].wrong += [f"question {name}: {said}"] if said else []
    _score(cell, results, root, found["score"])
    return looked, list(found.values())


def _gates_of(file: Path) -> dict[str, dict[str, Any]]:
    """What --write wrote. ResultError for any other file."""
    made = read_json(file, "make it with --write")
    rows = made.values() if isinstance(made, dict) else [None]
    if not all(isinstance(row, dict) and set(row) <= set(gates.GATES) - {"score"} for row in rows):
        raise ResultError(
            f"{file} holds no gates ({{question: {{gate: value}}}}, gates {', '.join(gates.GATES)}): make it with --write"
        )
    return dict(made)


def _texts(
    cell: Cell,
    results: Path,
    samples: Iterable[Sample],
    answerer: Any,
    looked: dict[str, Any],
    found: Finding,
) -> None:
    """Answers of one question at a time, beside the stored ones (other batches may differ in half precision)."""
    file = Files.of(results, cell).records
    stored = {r["id"]: r["text"] for r in read_jsonl(file, "predict the cell")} if file.exists() else {}
    for sample in samples:
        text = answerer([sample])[0]["record"]["text"]
        looked[sample.id]["text"] = text
        if sample.id in stored:
            found.checked += 1
            said = gates.differing("text", text, stored[sample.id], cell.model["dtype"])
            found.wrong += [f"question {sample.id}: {said}"] if said else []


def _score(cell: Cell, results: Path, root: Path, found: Finding) -> None:
    """The stored score: against the stored answers judged anew, and against what was published for this checkpoint."""
    from prunegrid.run.judged_cell import with_judgements
    from prunegrid.tasks import Record

    files, task = Files.of(results, cell), build.task(cell)
    if not (files.cell / "score.json").exists() or not files.records.exists():
        return
    stored = read_json(files.cell / "score.json", "score the cell")
    records = [Record.from_dict(r) for r in read_jsonl(files.records, "predict the cell")]
    task, records, _ = with_judgements(task, cell.task["name"], files, records)
    value = task.score([task.judge(r, "official") for r in records])[task.primary]
    kept = stored["metrics"][task.primary]
    found.checked += 1
    if abs(value - kept) > 1e-9:
        found.wrong.append(f"{task.primary} is {value:.6g} from the stored answers, {kept:.6g} in score.json")
    found.wrong += _unpublished(cell, stored, root)


def _unpublished(cell: Cell, stored: Mapping[str, Any], root: Path) -> list[str]:
    """Published numbers of this checkpoint, by the same definitions, that lie outside the score's own interval."""
    from prunegrid.run.expected import FILE, load
    from prunegrid.tasks.definitions import definitions

    whole = cell.reducer["name"] == "none" and cell.tuning["name"] == "none" and cell.limit is None
    if not whole or not (root / FILE).exists():
        return []
    wrong = []
    rows = [
        row
        for row in load(root / FILE)
        if row.model == cell.model["published"] and row.training in ("full", "lora")
    ]
    for d in definitions(cell.task["name"], stored["n"]):
        low, high = (d.factor * v for v in stored["interval"].get(d.metric, [-1e9, 1e9]))
        for row in rows:
            said = row.scores.get(d.name)
            if said is not None and not low <= said <= high:
                own = d.factor * stored["metrics"][d.metric]
                wrong.append(
                    f"{d.name} is {own:.2f} [{low:.2f}, {high:.2f}], published {said:g} ({row.source})"
                )
    return wrong
