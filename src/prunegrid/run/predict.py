"""Stage `predict`: a cell's answers. Resumes by id; a killed job loses at most one batch."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from prunegrid.grid.cell import Cell
from prunegrid.run import build
from prunegrid.run.data import check_unchanged
from prunegrid.run.files import Files, read_finished, write_json, write_jsonl
from prunegrid.tasks import Sample, TaskError, check_images, limit_clusters


@dataclass
class Partial:
    """Finished rows of an unfinished prediction: an append-only file that is no output of any rule."""

    path: Path
    fingerprint: str

    def load(self) -> dict[str, dict[str, Any]]:
        """id -> row. A cut last line is dropped; rows of another code or cell are set aside, never mixed in."""
        if not self.path.exists():
            return {}
        rows: dict[str, dict[str, Any]] = {}
        # Lines end with "\n" alone: str.splitlines also cuts at characters that JSON allows inside a string.
        *lines, last = self.path.read_bytes().decode("utf-8", "replace").split("\n")
        for number, line in enumerate([*lines, last] if last else lines):
            try:
                row = json.loads(line) if number < len(lines) else None
            except json.JSONDecodeError:
                row = None
            if number == 0 and (row or {}).get("fingerprint") != self.fingerprint:
                self.path.replace(self.path.with_suffix(f".{int(time.time())}.old"))
                return {}
            if row is None:
                print(f"{self.path}: line {number + 1} was cut; its question is asked again", flush=True)
            elif number:
                rows[row["record"]["id"]] = row
        return rows

    def rewrite(self, rows: Mapping[str, Any]) -> None:
        """Start the file afresh with what is good, so that later lines follow whole ones."""
        write_jsonl(self.path, [{"fingerprint": self.fingerprint}, *rows.values()])

    def append(self, rows: Sequence[Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(r, ensure_ascii=False, allow_nan=False) + "\n" for r in rows))
            file.flush()


def predict(cell: Cell, results: Path, root: Path, code: str, device: str = "auto") -> None:
    """Answer every question of the cell and write records.jsonl, trace.jsonl, provenance.json, timing.json."""
    files = Files.of(results, cell)
    task, keep = build.task(cell), _budget(cell, results)
    # What can be wrong fails here, before anything is loaded.
    check_unchanged(root, results, dict(cell.data))
    build.check_sites(cell, build.reducer(cell, keep), build.checkpoint(cell, root))
    samples = limit_clusters(task.samples(root / cell.task["data"]), cell.limit)
    check_images(samples)
    partial = Partial(files.prediction / "partial.jsonl", f"{files.prediction_id} {code}")
    files.prediction.mkdir(parents=True, exist_ok=True)
    done = partial.load()
    partial.rewrite(done)
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    size = int(cell.decoding["batch_size"])
    # Batches are cut from the whole list, resumed or not: who sits beside whom never depends on an interruption.
    todo = [b for b in _batches(samples, size) if any(s.id not in done for s in b)]
    if todo:
        answer = Answerer(cell, root, keep, device)
        with tqdm(
            total=len(samples), initial=len(samples) - sum(map(len, todo)), desc=cell.label, unit="q"
        ) as bar:
            for batch in todo:
                rows = answer(batch)
                partial.append(rows)
                done |= {r["record"]["id"]: r for r in rows}
                bar.update(len(batch))
    rows = [done[s.id] for s in samples]
    write_jsonl(files.trace, [{"id": r["record"]["id"], **r["trace"]} for r in rows])
    write_json(files.provenance, provenance(cell, root, code, keep, started, len(rows), device))
    write_json(
        files.prediction / "timing.json", {"seconds": time.monotonic() - began, "asked": sum(map(len, todo))}
    )
    write_jsonl(files.records, [r["record"] for r in rows])
    (files.prediction / "failed.json").unlink(missing_ok=True)
    partial.path.unlink()


def _batches(samples: Sequence[Sample], size: int) -> Iterator[list[Sample]]:
    for start in range(0, len(samples), size):
        yield list(samples[start : start + size])


def _budget(cell: Cell, results: Path) -> dict[str, int]:
    """Parameters that take as many tokens as another prediction kept on average."""
    found = {}
    for key, value in cell.reducer.items():
        if isinstance(value, Mapping) and "like" in value:
            twin = results / "predictions" / value["like"]
            traced = read_finished(twin, "trace.jsonl", f"it sets {key}; predict that cell first")
            counts = [row["visual"][0] if row["visual"] else 0 for row in traced]
            found[key] = max(1, round(sum(counts) / len(counts)))
    return found


class Answerer:
    """A loaded model that answers batches."""

    def __init__(self, cell: Cell, root: Path, keep: Mapping[str, Any], device: str) -> None:
        import torch

        from prunegrid.reduce import ReducedVLM

        self.device = pick_device(device)
        self.cell = cell
        torch.manual_seed(cell.seed)
        model, self.processor = build.model(cell, root, self.device)
        self.host = ReducedVLM(model, build.reducer(cell, keep), seed=cell.seed)

    def __call__(self, batch: Sequence[Sample]) -> list[dict[str, Any]]:
        """One row {record, trace} per sample. Any exception fails the cell: none becomes an answer."""
        import torch

        images = [_picture(s) for s in batch]
        prompts = [self.cell.model["template"].format(question=s.prompt) for s in batch]
        inputs = self.processor(images=images, text=prompts, return_tensors="pt", padding=True).to(
            self.device
        )
        inputs["pixel_values"] = inputs["pixel_values"].to(getattr(torch, self.cell.model["dtype"]))
        new, trace = self.host.generate(
            {k: inputs[k] for k in ("input_ids", "attention_mask", "pixel_values")},
            ids=[s.id for s in batch],
            max_new_tokens=int(self.cell.task["max_new_tokens"]),
            do_sample=bool(self.cell.decoding["do_sample"]),
        )
        stop = self.processor.tokenizer.eos_token_id
        lengths = [_length(row, stop) for row in new.tolist()]
        texts = self.processor.batch_decode(new, skip_special_tokens=True)
        rows = []
        for b, (sample, text) in enumerate(zip(batch, texts, strict=True)):
            record = sample.record(text.strip()).to_dict() | {"new_tokens": lengths[b]}
            rows.append({"record": record, "trace": {**trace.sample(b), "new_tokens": lengths[b]}})
        return rows


def _picture(sample: Sample) -> Any:
    """The one picture of a question, RGB. Raises TaskError by name: a file may be cut behind a sound header."""
    from PIL import Image

    if len(sample.images) != 1:
        raise TaskError(f"sample {sample.id}: {len(sample.images)} pictures; one per question is supported")
    try:
        return Image.open(sample.images[0]).convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise TaskError(
            f"{sample.images[0]} (sample {sample.id}): not readable as an image ({error}); fetch the data again"
        ) from error


def _length(tokens: list[int], stop: int) -> int:
    """Tokens generated, the stop token included."""
    return tokens.index(stop) + 1 if stop in tokens else len(tokens)


def pick_device(device: str) -> str:
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def provenance(
    cell: Cell, root: Path, code: str, keep: Mapping[str, Any], started: str, samples: int, device: str
) -> dict[str, Any]:
    """Where these answers come from; no times of day except the start, which no hash includes."""
    import torch

    packages = ("prunegrid", "torch", "transformers", "tokenizers", "pillow", "numpy")
    picked = pick_device(device)
    return {
        "cell": cell.to_dict(),
        "resolved": dict(keep),
        "code": code,
        "git": _git(root),
        "data": dict(cell.data),
        "model_revision": cell.model["revision"],
        "dtype": cell.model["dtype"],
        "batch_size": cell.decoding["batch_size"],
        "seed": cell.seed,
        "versions": {p: version(p) for p in packages} | {"python": platform.python_version()},
        "hardware": torch.cuda.get_device_name() if picked == "cuda" else f"{platform.machine()} cpu",
        "threads": torch.get_num_threads(),
        "started": started,
        "samples": samples,
    }


def _git(root: Path) -> str:
    """The commit, with + where files differ from it; 'unknown' outside a checkout."""
    try:
        run = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return run.stdout.strip()
