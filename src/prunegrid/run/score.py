"""Stage `score`: judge each record, then aggregate with intervals. No GPU; a fixed parser costs no prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prunegrid.grid.cell import Cell
from prunegrid.run import build
from prunegrid.run.files import Files, file_hash, read_finished, write_json, write_jsonl
from prunegrid.run.judged_cell import with_judgements
from prunegrid.stats.bootstrap import bootstrap
from prunegrid.tasks import Record

REPLICATES = 2000


def score(cell: Cell, results: Path, code: str = "unknown") -> None:
    """Write judged.jsonl, counts.json and score.json of a cell from its predictions. `code`: hash of what judges."""
    files, task = Files.of(results, cell), build.task(cell)
    remedy = f"run `prunegrid rerun {files.cell_id}`"
    rows = read_finished(files.prediction, "records.jsonl", remedy)
    task, records, said = with_judgements(
        task, cell.task["name"], files, [Record.from_dict(row) for row in rows]
    )
    judged = [task.judge(r, "official") for r in records]
    clusters, counts = task.counts(judged)
    intervals = bootstrap(counts, task.metric, replicates=REPLICATES)
    strict = task.score([task.judge(r, "strict") for r in records])
    new = [row["new_tokens"] for row in rows]
    made: dict[str, Any] = {
        "cell": files.cell_id,
        "prediction": files.prediction_id,
        "task": cell.task["name"],
        "task_version": cell.version,
        "mode": "official",
        "primary": task.primary,
        "unit": task.unit,
        "scale": task.scale,
        "metrics": {k: float(i.value) for k, i in intervals.items()},
        "interval": {k: [i.low, i.high] for k, i in (intervals.items()) if i.to_dict()["low"] is not None},
        "strict": strict,
        "n": len(records),
        "clusters": len(clusters),
        "new_tokens": {"mean": sum(new) / len(new), "max": max(new)},
        "result_hash": file_hash(files.records),
        "code": code,
    }
    if said:
        made["judge"] = said
    write_jsonl(files.cell / "judged.jsonl", judged)
    write_json(files.cell / "counts.json", {"clusters": clusters, "counts": counts.tolist()})
    write_json(files.cell / "score.json", made)
